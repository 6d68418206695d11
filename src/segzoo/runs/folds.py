"""What several trainings reached that measured on another part each: folds.json."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segzoo.base import files

__all__ = ["FOLDS", "Spread", "write_folds"]

FOLDS = "folds.json"


class Spread(NamedTuple):
    """Mean and standard deviation; nan where there are too few values."""

    mean: float
    deviation: float


def write_folds(folder: Path, values: Sequence[float | None]) -> Spread:
    """Write what the folds reached, None where one measured nothing. Raises as `files.write`."""
    found = [value for value in values if value is not None]
    spread = Spread(
        statistics.mean(found) if found else math.nan,
        statistics.stdev(found) if len(found) > 1 else math.nan,
    )
    record = {"values": values, "mean": spread.mean, "standard_deviation": spread.deviation}
    files.write(folder / FOLDS, json.dumps(record, indent=1).replace("NaN", "null").encode())
    return spread
