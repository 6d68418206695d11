"""Files of weights as other programs write them, filled by a formula, and what they must give.

goldens: a folder with CASE.json and CASE.safetensors for each case: the original code's own names
of its parameters, in its order, and its outputs. The parameters' values a formula recreates, that
of filler.py; of its two fillers ("base") one is "mix".
"""

import json
import zipfile
from functools import lru_cache
from pathlib import Path

import filler
import h5py
import numpy as np
import torch
from safetensors.torch import load_file


@lru_cache(maxsize=128)  # networks that share parameters are filled one after the other
def values(kind, shape, k, stride, base):
    return torch.from_numpy(filler.fill(kind, shape, k, stride, filler=base))


class Goldens:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manifest(self, case):
        return json.loads((self.folder / f"{case}.json").read_text("utf-8"))

    def tensors(self, case):
        return load_file(self.folder / f"{case}.safetensors")

    def filled(self, network, case, base="mix"):
        """A network of ours with the case's parameters, listed there in order of creation."""
        state = network.state_dict()
        own = [state[name] for name in state if "num_batches_tracked" not in name]
        rows = self.manifest(case)["params"]
        for k, (tensor, (_, shape, kind, stride)) in enumerate(zip(own, rows, strict=True)):
            assert list(tensor.shape) == shape
            tensor.copy_(values(kind, tuple(shape), k, stride, base))
        return network

    def arrays(self, case):
        """The original's parameters under its own names, in torch's order of axes."""
        rows = enumerate(self.manifest(case)["params"])
        return {
            name: filler.fill(kind, shape, k, stride) for k, (name, shape, kind, stride) in rows
        }

    def state(self, case):
        """The same as a state_dict, with the counters of batch normalisation."""
        state = {}
        for name, array in self.arrays(case).items():
            state[name] = torch.from_numpy(array)
            if name.endswith("running_var"):
                counter = name.replace("running_var", "num_batches_tracked")
                state[counter] = torch.tensor(1000)
        return state

    def keras(self, case):
        """The same as Keras has them: (kH, kW, in, out), of transposed (kH, kW, out, in)."""
        return {
            name: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
            for name, array in self.arrays(case).items()
        }

    def input(self, shape):
        return torch.from_numpy(filler.image(*map(int, shape.split("x"))))

    def tolerance(self, case, shape):
        """Of probabilities: what the original itself loses in float32, three times."""
        return max(
            1e-5, 3 * self.manifest(case)["fillers"]["mix"][shape]["fp32_vs_fp64_max_abs_diff"]
        )

    def deviation(self, case, shape, output, got, base="mix"):
        """How far an output is from the original's, in every part of it that is kept."""
        key = f"{base}/{shape}/{output}"
        facts = self.manifest(case)["outputs"][key]
        assert list(got.shape) == facts["shape"]
        step, side = facts.get("stride", 1), facts.get("corner", 1)
        parts = {
            "": got,
            "grid": got[:, :, ::step, ::step],
            "tl": got[:, :, :side, :side],
            "br": got[:, :, -side:, -side:],
        }
        kept = {
            name.partition(".")[2]: want
            for name, want in self.tensors(case).items()
            if name.partition(".")[0] == key
        }
        assert set(kept) == {
            "grid" if "stride" in facts else "",
            *("tl", "br") * ("corner" in facts),
        }
        far = [(parts[name] - want).abs().max() for name, want in kept.items()]
        return torch.stack(far).max().item()  # NaN if there is one

    def assert_close(self, case, shape, output, got, tolerance, base="mix"):
        """That an output is the original's: its shape, its sum, and each part that is kept."""
        far = self.deviation(case, shape, output, got, base)
        print(f"{base}/{shape}/{output}: largest deviation {far:.1e}, allowed {tolerance:.1e}")
        assert far <= tolerance
        total = self.manifest(case)["outputs"][f"{base}/{shape}/{output}"]["sum"]
        assert abs(got.double().sum().item() - total) <= tolerance * got.numel()


def write_keras2(target, arrays, *, first=0, root="model_weights"):
    """As Keras 2 writes .h5: layer/layer/kernel:0, its layers numbered from `first` on."""
    with h5py.File(target, "w") as file:
        file.attrs["model_config"] = '{"class_name": "Lambda", "config": "never run"}'
        group = file.create_group(root) if root else file
        for name, array in arrays.items():
            layer, _, variable = name.rpartition("/")
            layer = later(layer, first)
            group.create_dataset(f"{layer}/{layer}/{variable}:0", data=array)
        file.create_dataset("optimizer_weights/Adam/conv2d/kernel/m:0", data=np.zeros(3, "f4"))


def later(layer, first):
    """A layer's name in a session that has made `first` layers of each kind before."""
    if not layer.startswith(("conv2d", "batch_normalization")) or not first:
        return layer
    base, _, number = layer.rpartition("_")
    return f"{base}_{int(number) + first}" if number.isdecimal() else f"{layer}_{first}"


def write_keras3(target, arrays, *, container="layers"):
    """As Keras 3 writes .weights.h5: layers/layer/vars/0."""
    numbers = {}
    with h5py.File(target, "w") as file:
        for name, array in arrays.items():
            layer = name.rpartition("/")[0]
            number = numbers[layer] = numbers.get(layer, -1) + 1
            file.create_dataset(f"{container}/{layer}/vars/{number}", data=array)
        file.create_dataset("optimizer/vars/0", data=np.zeros(3, "f4"))
        file.create_dataset("layers/dropout/seed_generator/vars/0", data=np.zeros(2, "u4"))


def write_keras_zip(target, arrays, folder):
    """As Keras writes .keras: a zip of the config, which names code, and the weights."""
    write_keras3(folder / "model.weights.h5", arrays, container="_layer_checkpoint_dependencies")
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.3.3"}')
        archive.writestr("config.json", '{"module": "os", "class_name": "system"}')
        archive.write(folder / "model.weights.h5", "model.weights.h5")
