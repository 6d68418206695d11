"""Mix `lite0.duts` with what a run made of it, and make the final map harder: `lite0.fine`.

    python mix_fine.py RUN/model OUT [--share 0.75] [--scale 1.25]

Weights at a share of the way (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"), the
statistics of the norms too; then the last convolution of the final head times the scale. That
changes no pixel's rank and no mask at 0.5: logits are further from 0, the map is less gray. OUT is
a folder that `segzoo.load` and `segzoo publish` take.
"""

import argparse
from pathlib import Path

import torch

import segzoo

FINAL = "heads.0."  # of logits; the coarser heads are for training alone and stay as they are


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="the folder of the run's model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.75, help="of the run, 0 to 1")
    parser.add_argument("--scale", type=float, default=1.25, help="of the final logits")
    parser.add_argument("--begun", default="lite0.duts", help="what the run began with")
    args = parser.parse_args()
    begun = segzoo.load(args.begun)
    made = segzoo.load(str(args.run)).network.state_dict()
    with torch.inference_mode():
        for name, value in begun.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(made[name], args.share)
            if name.startswith(FINAL):
                value.mul_(args.scale)
    begun.save_pretrained(args.out, dtype="float16")


if __name__ == "__main__":
    main()
