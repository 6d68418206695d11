"""Find out which encoders SMP can build under each of its decoders, and write `encoders.json`.

    python tools/make_table.py [ENCODER ...]

Every decoder is built with every encoder of SMP, then with every architecture of timm (SMP's names
`tu-*`), with random initial values on torch's "meta" device: shapes without numbers, so that
nothing is downloaded and a network of a billion parameters costs no memory. An encoder that needs
values is built on the CPU. A pair fits when it gives logits of the input's size; the row of an
encoder has, for each decoder that it fits,

    [parameters with 3 channels and one class, multiple_of, extras]

with, where there is something to say, in extras
    frozen: prefixes of parameters that the decoder makes no use of, which no gradient reaches;
    encoder: keywords that make timm's encoder take pictures of any size;
    size: (height, width), when it takes that size alone;
    stem: prefixes of what depends on the input's channels, where it is not the row's own;
"imagenet": the commit of smp-hub/ENCODER.imagenet on the Hub, where SMP names one;
and, under "refused", the decoders that it does not fit, by what SMP, timm or torch says.

All of it takes an hour or two. With names, only those rows are made, and printed.
"""

import contextlib
import importlib
import json
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

TABLE = Path(__file__).parents[1] / "src/segzoo_smp/encoders.json"
DECODERS: Mapping[str, Any] = smp.MODEL_ARCHITECTURES_MAPPING
SIDE = 64  # pixels: what the contract kit feeds a network with, at least

# What takes an encoder of one size to any: windows or positions that follow the picture.
ANY_SIZE: tuple[dict[str, bool], ...] = (
    {},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
)
NEEDS_VALUES = "meta tensors"  # what torch says where shapes alone will not do
FACTORS = (1, 2, 4, 7, 8, 12, 16)  # of the output stride: for pools and windows of fixed size

# Mean and std that an encoder's published weights expect, by the beginning of its name; all take
# RGB from 0 to 1. SMP 0.6 has them on the Hub. These are of `_legacy_pretrained_settings.py` in its
# repository at 97b300c; "imagenet" weights, for no other kind differs but "advprop" (0.5 each).
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DPN = ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
STATISTICS = {
    "dpn": DPN,
    "inception": HALVES,
    "timm-tf_efficientnet_lite": HALVES,
    "xception": HALVES,
}

Row = dict[str, Any]
Features = list[Tensor]


class Encoders:
    """SMP's encoders, each built once for all decoders that want it alike.

    An encoder keeps its features of each size, or its fault, for the next decoder.
    """

    def __init__(self) -> None:
        self._build = smp.encoders.get_encoder
        self._built: dict[str, nn.Module | Exception] = {}

    def get_encoder(self, name: str, **options: Any) -> nn.Module:
        key = f"{name} {sorted(options.items())} {torch.get_default_device()}"
        if key not in self._built:
            try:
                self._built[key] = _remembering(self._build(name, **options).eval())
            except Exception as error:
                self._built[key] = error
        built = self._built[key]
        if isinstance(built, Exception):
            raise built
        return built

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """While SMP's decoders ask here for their encoders."""
        modules = {importlib.import_module(d.__module__) for d in DECODERS.values()}
        asking = [module for module in modules if hasattr(module, "get_encoder")]
        for module in asking:
            module.get_encoder = self.get_encoder  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for module in asking:
                module.get_encoder = self._build  # type: ignore[attr-defined]


def _remembering(encoder: nn.Module) -> nn.Module:
    forward, results = encoder.forward, {}

    def remembered(x: Tensor) -> Features:
        key = tuple(x.shape)
        if key not in results:
            try:
                results[key] = forward(x)
            except Exception as error:
                results[key] = error
        if isinstance(results[key], Exception):
            raise results[key]
        return [*results[key]]  # UPerNet writes into the list

    encoder.forward = remembered
    return encoder


def row_of(encoder: str) -> Row:
    """The row of an encoder: what of it and of its pairs with all decoders the table has."""
    row: Row = {"statistics": statistics_of(encoder), "channels": [], "stem": []}
    refused: dict[str, list[str]] = {}
    with Encoders().shared():
        for decoder in DECODERS:
            try:
                parameters, multiple_of, extras, channels = facts_of(decoder, encoder, "meta")
            except Exception as error:
                if NEEDS_VALUES not in str(error):
                    refused.setdefault(_say(error), []).append(decoder)
                    continue
                parameters, multiple_of, extras, channels = facts_of(decoder, encoder, "cpu")
            if decoder == "dpt" or not row["stem"]:
                stem = stem_of(decoder, encoder, extras.get("encoder", {}))
            if not row["stem"]:
                row["stem"] = stem
            elif stem != row["stem"]:
                extras["stem"] = stem
            row["channels"] = max(row["channels"], channels, key=len)  # some ask for fewer
            row[decoder] = [parameters, multiple_of, *([extras] if extras else [])]
    commit = commit_of(encoder)
    row |= {"imagenet": commit} if commit else {}
    return row | ({"refused": refused} if refused else {})


def commit_of(encoder: str) -> str:
    """The commit of the encoder's ImageNet weights on the Hub, as SMP names it; "" for none."""
    settings = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings") or {}
    where = settings.get("imagenet")
    if where is None or where["repo_id"] != f"smp-hub/{encoder}.imagenet":
        return ""
    return str(where["revision"])


def facts_of(decoder: str, encoder: str, place: str) -> tuple[int, int, dict[str, Any], list[int]]:
    """Parameters, multiple_of and extras of a pair, and the encoder's channels. place: a device."""
    first: Exception | None = None
    for options in ANY_SIZE:
        try:
            network = built(decoder, encoder, place, **options)
            multiple_of, logits = any_size(network, place)
        except Exception as error:
            first = first or error
            continue
        return described(network, logits, multiple_of, {"encoder": options} if options else {})
    assert first is not None
    try:
        network = built(decoder, encoder, place)
        side = network.encoder.model.pretrained_cfg["input_size"][-1]
        assert side % network.encoder.output_stride == 0
    except Exception:  # not built at all, or without a size of its own that SMP takes
        raise first from None
    logits = logits_for(network, place, side, side)
    return described(network, logits, side, {"size": [side, side]})


def built(decoder: str, encoder: str, place: str, **options: Any) -> Any:
    """SMP's network in eval mode, with random values."""
    with torch.device(place):
        return DECODERS[decoder](encoder, encoder_weights=None, **options).eval()


def any_size(network: Any, place: str) -> tuple[int, Tensor]:
    """The least multiple of its output stride whose multiples a network takes, and some logits."""
    first: Exception | None = None
    for factor in FACTORS:
        step = factor * network.encoder.output_stride
        side = -(-SIDE // step) * step
        try:
            logits_for(network, place, step, step)
            return step, logits_for(network, place, side, side + step)
        except Exception as error:
            first = first or error
    assert first is not None
    raise first


def logits_for(network: nn.Module, place: str, height: int, width: int) -> Tensor:
    """What a network gives for a picture; ValueError when it is not of the picture's size."""
    logits: Tensor = network(torch.zeros(1, 3, height, width, device=place))
    if logits.shape != (1, 1, height, width):
        found = "x".join(map(str, logits.shape[2:]))
        raise ValueError(f"logits of {found} for a picture of {height}x{width}")
    return logits


def described(
    network: Any, logits: Tensor, multiple_of: int, extras: dict[str, Any]
) -> tuple[int, int, dict[str, Any], list[int]]:
    """What `facts_of` gives, of a network that was built and fits."""
    used = behind(logits)
    if unused := prefixes(network, [n for n, p in network.named_parameters() if p not in used]):
        extras = {"frozen": unused} | extras
    parameters = sum(p.numel() for p in network.parameters())
    return parameters, multiple_of, extras, [*network.encoder.out_channels]


def behind(logits: Tensor) -> set[Tensor]:
    """The parameters that a gradient would reach."""
    found, seen, queue = set(), set(), [logits.grad_fn]
    while queue:
        step = queue.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        if hasattr(step, "variable"):
            found.add(step.variable)
        queue += [previous for previous, _ in step.next_functions]
    return found


def stem_of(decoder: str, encoder: str, options: Mapping[str, bool]) -> list[str]:
    """The prefixes of what depends on the number of channels of the input."""
    colour, gray = (_blank(decoder, encoder, in_channels=n, **options) for n in (3, 1))
    one, other = ({n: v.shape for n, v in x.state_dict().items()} for x in (colour, gray))
    assert one.keys() == other.keys()
    return prefixes(colour, [name for name in one if one[name] != other[name]])


def _blank(decoder: str, encoder: str, **options: Any) -> Any:
    try:
        return built(decoder, encoder, "meta", **options)
    except Exception:
        return built(decoder, encoder, "cpu", **options)


def prefixes(network: nn.Module, chosen: Iterable[str]) -> list[str]:
    """The fewest prefixes that name the chosen parameters; those of modules end with a dot."""
    left, found = set(chosen), []
    for path, module in network.named_modules():
        own = {f"{path}.{name}" for name, _ in module.named_parameters()}
        if path and own and own <= left:
            found.append(f"{path}.")
            left -= own
    return sorted([*found, *left])


def statistics_of(encoder: str) -> list[list[float]]:
    """Mean and std that the encoder's own weights expect of pictures from 0 to 1."""
    if encoder.startswith("tu-"):
        config = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
        pair = (config.mean, config.std) if config else IMAGENET
    else:
        own = (v for start, v in STATISTICS.items() if encoder.startswith(start))
        pair = next(own, IMAGENET)
    return [[round(value, 6) for value in values] for values in pair]


def _say(error: Exception) -> str:
    """What an error says, or the line that it comes from, without a comment, if it says nothing."""
    text = str(error).partition("\n")[0]
    return text or str(traceback.extract_tb(error.__traceback__)[-1].line).partition("  #")[0]


def names() -> list[str]:
    """All encoders that SMP knows of: its own and timm's."""
    return [*smp.encoders.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models())]


def rows_of(encoders: Iterable[str]) -> Iterator[tuple[str, Row]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SMP's names that begin with "timm-" are old
        for encoder in encoders:
            yield encoder, row_of(encoder)


def dumped(rows: Mapping[str, Row]) -> str:
    """The table as JSON, a line for each encoder."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    made = {"segmentation-models-pytorch": smp.__version__, "timm": timm.__version__}
    return f'{{"made_with": {json.dumps(made)}, "encoders": {{\n{lines}\n}}}}\n'


def main(wanted: Sequence[str]) -> None:
    rows: dict[str, Row] = {}
    for name, row in rows_of(wanted or names()):
        rows[name] = row
        print(json.dumps({name: row}), flush=True)
    if not wanted:
        TABLE.write_text(dumped(rows), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
