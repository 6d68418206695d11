"""Our U-Net and UNet++ beside those of segmentation_models.pytorch: seconds for a GMAC.

    python bench/unets.py [--rounds 15] [--threads 2] [--side 256]

Ours are of two widths, the multiply-adds of segmentation_models.pytorch's, with its encoder
resnet18, between them. Plain eager torch in float32 on both sides, each with its values one channel
after the other and channels last, pictures of noise: "predict" is one picture in inference mode,
"train" a batch of four, forward and backward. The ways in turn within each round. A ratio is the
time for a GMAC over that of segmentation_models.pytorch in the memory format in which it is
quicker, the median over the rounds. Writes bench/results/unets.json.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import machine
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from segzoo.model import build, profile
from segzoo.model.load import find_spec

PAIRS = {"unet": smp.Unet, "unetpp": smp.UnetPlusPlus}
WIDTHS = (16, 32)
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
BATCH = 4


class Way(NamedTuple):
    network: str
    memory: str


def ours(name: str, width: int) -> nn.Module:
    _, spec = find_spec(name)
    return build.build(spec, in_channels=3, num_classes=1, options={"width": width})


def theirs(name: str) -> nn.Module:
    made: nn.Module = PAIRS[name]("resnet18", encoder_weights=None, in_channels=3, classes=1)
    return made


def predict(network: nn.Module, x: Tensor) -> object:
    network.eval()
    with torch.inference_mode():
        return network(x[:1])


def train(network: nn.Module, x: Tensor) -> None:
    network.train()
    network.zero_grad()
    outputs = network(x)
    heads = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    loss = torch.stack([head.square().mean() for head in heads]).sum()
    loss.backward()  # type: ignore[no-untyped-call]


def measure(
    networks: dict[Way, nn.Module], kind: Callable[[nn.Module, Tensor], object], x: Tensor, n: int
) -> dict[Way, list[float]]:
    """The seconds of n rounds, after one that is not counted."""
    taken: dict[Way, list[float]] = {way: [] for way in networks}
    for turn in range(n + 1):
        for way, network in networks.items():
            given = x.contiguous(memory_format=FORMATS[way.memory])
            start = time.perf_counter()
            kind(network, given)
            if turn:
                taken[way].append(time.perf_counter() - start)
    return taken


def rows(name: str, side: int, rounds: int) -> list[dict[str, Any]]:
    makers: dict[str, Callable[[], nn.Module]] = {
        f"segzoo, width {w}": partial(ours, name, w) for w in WIDTHS
    }
    makers["smp, resnet18"] = partial(theirs, name)
    gmacs = {
        k: profile.stages(make, (1, 3, side, side))[-1].macs / 1e9 for k, make in makers.items()
    }
    networks = {
        Way(k, m): make().to(memory_format=memory)
        for k, make in makers.items()
        for m, memory in FORMATS.items()
    }
    found = {
        way: {"model": name, **way._asdict(), "gmacs": round(gmacs[way.network], 2)}
        for way in networks
    }
    for kind in (predict, train):
        taken = measure(networks, kind, torch.randn(BATCH, 3, side, side), rounds)
        each = {way: [s / gmacs[way.network] for s in seconds] for way, seconds in taken.items()}
        their = [Way("smp, resnet18", m) for m in FORMATS]
        beside = each[min(their, key=lambda way: statistics.median(each[way]))]
        for way, seconds in each.items():
            found[way][f"{kind.__name__}_ms_per_gmac"] = round(1000 * statistics.median(seconds), 1)
            ratio = statistics.median(a / b for a, b in zip(seconds, beside, strict=True))
            found[way][f"{kind.__name__}_ratio"] = round(ratio, 2)
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    here = machine.describe()
    found = [row for name in PAIRS for row in rows(name, args.side, args.rounds)]
    for row in found:
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    result = {"rounds": args.rounds, "threads": args.threads, "side": args.side, "rows": found}
    print(f"\nwritten to {machine.save('unets', result, machine=here)}")


if __name__ == "__main__":
    main()
