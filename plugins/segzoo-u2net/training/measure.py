"""Measure saliency weights on folders of pictures and masks, beside a blob that sees no picture.

    python measure.py MODEL FOLDER [FOLDER ...] [--weights FILE] [--json FILE]

MODEL goes through `segzoo.load(MODEL, pretrained=True)`, and the whole of `predict`. Each FOLDER
holds images/STEM.* and masks/STEM.png (0 and 255). For each, three numbers over all pictures:

    MAE                  mean |probability - mask|, mean over pictures
    max F-beta           beta^2 = 0.3; precision and recall at each of 256 thresholds, both averaged
                         over pictures, the largest F of the averages, as in the paper's tables
    max F of the mean    the F of each picture at each threshold, averaged over pictures, the
                         largest average, as in PySODMetrics

A map is stretched to 0..1 first and cut to 256 levels for the curves, as PySODMetrics does.
The baseline is one centred Gaussian, a quarter of each side wide, for every picture.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

import segzoo

BETA2 = 0.3


def saliency_scores(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """MAE and both max F-beta of (probability (H, W) in [0, 1], mask (H, W) bool) pairs."""
    errors, precisions, recalls = [], [], []
    for probability, mask in pairs:
        low, high = probability.min(), probability.max()
        if low < high:
            probability = (probability - low) / (high - low)
        errors.append(np.abs(probability - mask).mean())
        levels = (probability * 255).astype(np.uint8)
        inside = np.bincount(levels[mask], minlength=256)[::-1].cumsum()
        found = np.bincount(levels.ravel(), minlength=256)[::-1].cumsum()
        precisions.append(inside / np.maximum(found, 1))
        recalls.append(inside / max(mask.sum(), 1))
    of_means = f_beta(np.mean(precisions, axis=0), np.mean(recalls, axis=0))
    mean = f_beta(np.array(precisions), np.array(recalls)).mean(axis=0)
    return {
        "mae": float(np.mean(errors)),
        "max_f": float(of_means.max()),
        "max_f_of_mean": float(mean.max()),
        "pictures": len(errors),
    }


def f_beta(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """F, 0 where precision and recall are."""
    whole = BETA2 * precision + recall
    return (1 + BETA2) * precision * recall / np.where(whole > 0, whole, 1)


def centred_gaussian(height: int, width: int) -> np.ndarray:
    y, x = (np.linspace(-2, 2, n) for n in (height, width))
    return np.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.weights:
        model = segzoo.load(args.model, weights=args.weights)
    else:
        model = segzoo.load(args.model, pretrained=True)

    rows = []
    for folder in args.folders:
        pictures = sorted((folder / "images").iterdir())
        masks = [np.asarray(Image.open(folder / "masks" / f"{p.stem}.png")) > 128 for p in pictures]
        predicted = (model.predict(p).probability for p in pictures)
        blobs = (centred_gaussian(*mask.shape) for mask in masks)
        for name, maps in ((args.model, predicted), ("centred Gaussian", blobs)):
            scores = saliency_scores(zip(maps, masks, strict=True))
            rows.append({"folder": "/".join(folder.parts[-2:]), "model": name, **scores})
            print(
                f"{rows[-1]['folder']:<16} {name:<18} max F {scores['max_f']:.4f}  "
                f"of the mean {scores['max_f_of_mean']:.4f}  MAE {scores['mae']:.4f}  "
                f"({scores['pictures']} pictures)"
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
