"""How a run uses the machine, as data. What changes the result is the recipe's."""

from dataclasses import dataclass
from typing import Literal

from segzoo.base.records import Record
from segzoo.spec import MAX_BATCH

__all__ = ["MOST", "OF_ONE_OCCASION", "Settings"]

OF_ONE_OCCASION = ("device", "max_minutes", "quiet")  # a resumed run has the others as they were

# A run's folder may be a stranger's, and these cost processes, or seconds that no clock can count.
YEAR = 366 * 86_400
MOST = {
    "workers": 1024,
    "threads": 1024,
    "eval_batch_size": MAX_BATCH,
    "worker_timeout": YEAR,
    "process_timeout": YEAR,
    "remember": 1 << 30,
}


@dataclass(frozen=True, kw_only=True)
class Settings(Record):
    """Of one machine; a resumed run may have others.

    device: "auto", "cpu", "cuda" or "mps"; of several processes each takes a card of its own.
    workers: processes that read the data, of each training process. worker_timeout: seconds to
        wait for one of them, 0 for ever. process_timeout: seconds to wait for another training
        process. cache: a folder that holds decoded samples between runs. remember: bytes of samples
        to train on that each process that reads keeps in memory.
    threads: of each training process; None for as many as cores are idle when it begins.
    compile, checkpointing: torch.compile; less memory for more time. channels_last: NHWC memory;
        None where a trial finds it faster.
    deterministic: algorithms that give the same bits on a GPU; on a CPU they always do.
    eval_every: steps between measurements on the validation set, None for once an epoch.
    save_every: steps between checkpoints, None for each measurement. save_minutes: one is written
        this long after the last one, too; None for never.
    keep: how many of the newest checkpoints stay; the best one always does.
    max_minutes: the run saves and ends after so long. patience: it ends after so many measurements
        without a better one.
    trackers: "tensorboard", "wandb", "trackio".
    """

    device: str = "auto"
    workers: int = 2
    worker_timeout: float = 600.0
    process_timeout: float = 600.0
    cache: str = ""
    remember: int = 0
    threads: int | None = None
    compile: bool = False
    channels_last: bool | None = None
    checkpointing: bool = False
    deterministic: bool = False
    eval_every: int | None = None
    eval_batch_size: int = 8
    save_every: int | None = None
    save_minutes: float | None = 10.0
    keep: int = 2
    max_minutes: float | None = None
    patience: int | None = None
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    quiet: bool = False

    def _faults(self) -> list[str]:
        least = {"workers": 0, "remember": 0, "worker_timeout": 0, "process_timeout": 1, "keep": 1}
        least |= {"eval_batch_size": 1, "eval_every": 1, "save_every": 1, "patience": 1}
        least |= {"save_minutes": 0, "max_minutes": 0, "threads": 1}
        values = {name: getattr(self, name) for name in least}
        given = {name: value for name, value in values.items() if value is not None}
        return [
            *(f"{n}={value} is below {least[n]}" for n, value in given.items() if value < least[n]),
            *(
                f"{n}={given[n]} is above {most}"
                for n, most in MOST.items()
                if n in given and given[n] > most
            ),
        ]
