"""How a promise of the contract went: kept, broken or not tried."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from segzoo.checks.blame import in_one_line
from segzoo.errors import printable
from segzoo.model.build import in_float32

__all__ = ["Broken", "Result", "Skipped", "judged", "one_thread"]


class Broken(Exception):
    """A promise is broken: what was found, and how to mend it if not as the table says."""

    def __init__(self, found: str, fix: str = "") -> None:
        super().__init__(found)
        self.found, self.fix = found, fix


class Skipped(Exception):
    """A promise that this model or machine gives nothing to judge by."""


@dataclass(frozen=True)
class Result:
    """How one promise went.

    ok: it was not found broken. detail, fix: what was found and, when it was, how to mend it.
    skipped: why it was not tried.
    """

    promise: str
    ok: bool
    detail: str = ""
    fix: str = ""
    skipped: str = ""

    @property
    def line(self) -> str:
        """For a terminal: the state in nine columns, the promise, and what there is to say."""
        state = "skipped" if self.skipped else "ok" if self.ok else "FAIL"
        said = (self.promise, self.skipped or self.detail, self.fix)
        return printable(f"{state:<9}{': '.join(filter(None, said))}")


def judged(promise: str, keep: Callable[[], str | None], fix: str) -> Result:
    """What comes of a promise, whatever `keep` raises; it may give what it found."""
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), in_float32():
            warnings.simplefilter("ignore")
            return Result(promise, True, detail=keep() or "")
    except Skipped as reason:
        return Result(promise, True, skipped=str(reason))
    except Broken as broken:
        return Result(promise, False, printable(broken.found), broken.fix or fix)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit among it
        return Result(promise, False, in_one_line(error), fix)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inputs are small: threads gain little, and cost tenfold on a machine that is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
