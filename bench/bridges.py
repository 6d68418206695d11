"""Are the networks of other libraries the same here? Their own files, converted, give which logits?

    python bench/bridges.py [NETWORK ...]

Of each network the library makes one with random values and statistics, and saves it as it saves
its own: torchvision a state dict, segmentation-models-pytorch and transformers by their
`save_pretrained`. `segzoo convert` makes a model of that, and both are given the same x in eval
mode. Prints a line for each, and writes results/parity_of_bridges.json, for docs/bridges.md.
With names, only those are compared, and nothing is written.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import segmentation_models_pytorch as smp
import torch
import torchvision.models.segmentation as tv
import transformers
from segzoo_transformers import encoders
from torch import Tensor, nn
from torch.nn import functional as F

import segzoo
from segzoo.runs.convert import convert

RESULTS = Path(__file__).parent / "results/parity_of_bridges.json"
SIZE = (128, 160)  # of x: a multiple of what every network takes
CLASSES = 5
LIBRARIES = {"tv": "torchvision", "smp": "segmentation_models_pytorch", "hf": "transformers"}
OF_SMP = {"dpt": "tu-vit_tiny_patch16_224", "segformer": "mit_b0"}
TV = {
    "deeplabv3": ("resnet50", "resnet101", "mobilenet_v3_large"),
    "fcn": ("resnet50", "resnet101"),
    "lraspp": ("mobilenet_v3_large",),
}
SMALL = "tiny"  # how UPerNet's encoders end that are compared; the others are a gigabyte and more


class Case(NamedTuple):
    """A network. save: writes it into a folder, and gives the file or folder that says its kind."""

    model: str
    encoder: str
    network: nn.Module
    save: Callable[[Path], Path]


def of_torchvision() -> Iterator[Case]:
    for family, backbones in TV.items():
        for backbone in backbones:
            options = {} if family == "lraspp" else {"aux_loss": True}
            make = getattr(tv, f"{family}_{backbone}")
            network = make(weights=None, weights_backbone=None, num_classes=CLASSES, **options)

            def save(folder: Path, network: nn.Module = network) -> Path:
                safetensors.torch.save_file(network.state_dict(), folder / "theirs.safetensors")
                return folder / "theirs.safetensors"

            yield Case(f"tv_{family}", backbone, network, save)


def of_smp() -> Iterator[Case]:
    for decoder, make in smp.MODEL_ARCHITECTURES_MAPPING.items():
        encoder = OF_SMP.get(decoder, "resnet18")
        network = make(encoder, encoder_weights=None, classes=CLASSES)
        yield Case(f"smp_{decoder}", encoder, network, saved(network))


def of_transformers() -> Iterator[Case]:
    for encoder in encoders.MIX:
        config = transformers.SegformerConfig(num_labels=CLASSES, **encoders.segformer(encoder))
        network = transformers.SegformerForSemanticSegmentation(config)
        yield Case("hf_segformer", encoder, network, saved(network))
    kinds = {"convnext": transformers.ConvNextConfig, "swin": transformers.SwinConfig}
    for encoder in encoders.UPERNET:
        if not encoder.endswith(SMALL):
            continue
        backbone = encoders.backbone(encoder)
        made = kinds[backbone.pop("model_type")](**backbone)
        config = transformers.UperNetConfig(
            backbone_config=made, num_labels=CLASSES, **encoders.upernet(encoder)
        )
        network = transformers.UperNetForSemanticSegmentation(config)
        yield Case("hf_upernet", encoder, network, saved(network))


def saved(network: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        network.save_pretrained(folder)
        return folder

    return save


def lived_in(network: nn.Module) -> nn.Module:
    """With values that training would leave where a network begins with none that count."""
    for name, tensor in [*network.named_buffers(), *network.named_parameters()]:
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith(("relative_position_bias_table", "layer_scale_parameter")):
            nn.init.normal_(tensor)
    return network.eval()


def logits_of(outputs: Any) -> Tensor:
    """What a library's network gives for x, at its size."""
    if isinstance(outputs, Tensor):
        return outputs
    logits: Tensor = outputs["out"] if "out" in outputs else outputs.logits
    return F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False)


def compared(case: Case) -> dict[str, Any]:
    """A row: how many tensors came over, and how far the logits are from the library's."""
    lived_in(case.network)
    with tempfile.TemporaryDirectory() as place:
        theirs, ours = Path(place, "theirs"), Path(place, "ours")
        theirs.mkdir()
        source = case.save(theirs)
        plain = source.is_file()
        done = convert(
            source,
            to=case.model if plain else None,
            out=ours,
            num_classes=CLASSES if plain else None,
        )
        model = segzoo.load(f"local-dir:{ours}")
        side = (224, 224) if case.model == "smp_dpt" else SIZE
        x = torch.randn(1, 3, *side, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted, found = logits_of(case.network(x)), model(x)
    return {
        "model": case.model,
        "encoder": case.encoder,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tensors": len(done.names),
        "largest_logit": round(wanted.abs().max().item(), 3),
        "difference": (found - wanted).abs().max().item(),
    }


def main(wanted: Iterable[str]) -> None:
    wanted = {*wanted}
    torch.manual_seed(0)
    rows = []
    for cases in (of_torchvision, of_smp, of_transformers):
        for case in cases():
            if not wanted or case.model in wanted:
                rows.append(compared(case))
                print(json.dumps(rows[-1]), flush=True)
    versions = {name: version(name) for name in (*LIBRARIES.values(), "torch")}
    found = {"versions": versions, "size": SIZE, "rows": rows}
    if not wanted:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
