"""Mix the authors' weights of U²-Netp with those of a run that went on from them.

    python mix_duts.py RUN/model OUT [--share 0.25]

A run of a few hundred steps moves the weights further than it makes them better: on their own its
weights are worse than the authors', on pictures that it trained on and on others. A share of the
way (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models") keeps what the authors' know.
OUT is a folder that `segzoo.load` and `segzoo publish` take.
"""

import argparse
from pathlib import Path

import torch

import segzoo


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="the folder of the run's model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.25, help="of the run, 0 to 1")
    parser.add_argument("--authors", default="u2netp.official", help="or a converted folder")
    args = parser.parse_args()
    authors = segzoo.load(args.authors)
    tuned = segzoo.load(str(args.run)).network.state_dict()
    with torch.inference_mode():
        for name, value in authors.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(tuned[name], args.share)
    authors.save_pretrained(args.out)


if __name__ == "__main__":
    main()
