"""A folder of four small pictures with masks of 0 and 255, and runs of seconds on it."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segzoo.engine.record import RUN
from segzoo.engine.settings import Settings
from segzoo.runs.training import Trained, train

QUIET = Settings(device="cpu", workers=0, quiet=True, save_every=1)
LOUD = Settings(device="cpu", workers=0, save_every=1)
MODEL: dict[str, Any] = {"width": 2, "depth": 1}  # of unetpp
TINY = ["epochs=none", "batch_size=2", "crop=16", "warmup=0", "ema=none"]


def pair(folder: Path, name: str, seed: int) -> None:
    """A picture and a mask of 32 x 32, of noise."""
    random = np.random.default_rng(seed)
    for place, values in (
        ("images", random.integers(0, 256, (32, 32, 3), dtype=np.uint8)),
        ("masks", (random.random((32, 32)) > 0.5) * np.uint8(255)),
    ):
        (folder / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / place / f"{name}.png")


def cells_in(folder: Path) -> Path:
    for seed, name in enumerate("abcd"):
        pair(folder, name, seed)
    return folder


def trained(data: str, *, steps: int = 2, run: str = "run", **more: Any) -> Trained:
    """A run of some steps."""
    asked = {"settings": QUIET, "changes": [f"steps={steps}", *TINY], **MODEL, **more}
    return train("unetpp", data, run=run, **asked)


def resumed(run: str = "run", **more: Any) -> Trained:
    return train(resume=run, run=run, **{"settings": QUIET, **more})


def record_of(run: str = "run") -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(Path(run, RUN).read_text("utf-8"))
    return found
