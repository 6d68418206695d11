"""Files of weights as other programs write them, filled by a formula, and what they must give.

goldens: a folder with filler.py and, for each case, CASE.json and CASE.safetensors: the original
code's own names of its parameters, in its order, and its outputs.
"""

import importlib.util
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import load_file


class Goldens:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        spec = importlib.util.spec_from_file_location("filler", folder / "filler.py")
        self.filler = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.filler)

    def manifest(self, case):
        return json.loads((self.folder / f"{case}.json").read_text())

    def arrays(self, case):
        """The original's parameters under its own names, in torch's order of axes."""
        rows = enumerate(self.manifest(case)["params"])
        return {
            name: self.filler.fill(kind, shape, k, stride)
            for k, (name, shape, kind, stride) in rows
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
        return torch.from_numpy(self.filler.image(*map(int, shape.split("x"))))

    def tolerance(self, case, shape):
        """Of probabilities: what the original itself loses in float32, three times."""
        return max(
            1e-5, 3 * self.manifest(case)["fillers"]["mix"][shape]["fp32_vs_fp64_max_abs_diff"]
        )

    def deviation(self, case, shape, output, got):
        """How far an output is from the original's, wherever that is kept."""
        key = f"mix/{shape}/{output}"
        facts, stored = (
            self.manifest(case)["outputs"][key],
            load_file(self.folder / f"{case}.safetensors"),
        )
        assert list(got.shape) == facts["shape"]
        step, side = facts.get("stride", 1), facts.get("corner", 1)
        parts = {
            key: got,
            f"{key}.grid": got[:, :, ::step, ::step],
            f"{key}.tl": got[:, :, :side, :side],
            f"{key}.br": got[:, :, -side:, -side:],
        }
        parts = {name: part for name, part in parts.items() if name in stored}
        assert parts
        return max((part - stored[name]).abs().max().item() for name, part in parts.items())


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
