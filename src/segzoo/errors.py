"""Every error that segzoo raises on purpose.

    SegzooError
    ├── UsageError                 exit code 2: the call, a name, an option or a setting
    │   ├── UnknownModelError          no model has this name
    │   ├── AmbiguousModelError        several plugins offer this name
    │   ├── PluginError                a plugin breaks the contract
    │   ├── PluginMissingError         weights name a plugin that is not installed
    │   ├── DependencyMissingError     an optional library is not installed
    │   ├── WeightsMissingError        a model has no weights of this tag
    │   ├── ConfigError                a config.json or an option that cannot be used
    │   ├── DeviceError                the device asked for is not there
    │   ├── OutputError                results cannot be written where they were asked for
    │   ├── LicenseError               weights whose licence is not one that was asked for
    │   └── RunError                   a training run that cannot be started, continued or shared
    ├── HubError                   exit code 4: the Hub or the way to it
    │   ├── HubAccessError             it wants a token, another one, or terms accepted
    │   ├── HubNotFoundError           it has no such repository, revision or file
    │   ├── HubRateLimitError          it wants fewer requests
    │   └── OfflineError               it cannot be reached, and what was asked for is not cached
    ├── ResourceError              exit code 5: memory or disk is not enough
    ├── NonFiniteError             exit code 6: a loss or gradient became NaN or infinite
    └── DataError                  exit code 3: a file that is corrupt, unsafe or of another kind
        ├── PictureError               a picture that cannot be decoded
        │   └── PictureTooLargeError       a picture above the limit of pixels
        ├── DatasetError               a data set that cannot be trained on or measured with
        ├── CheckpointError            a checkpoint that is damaged or of another run
        ├── UnsafeArchiveError         an archive that would write where it should not
        ├── UnsafeFormatError          a file that could run code, or is not what its name says
        ├── WeightsFormatError         a safetensors file whose header or length is wrong
        ├── WeightsMismatchError       weights of another network
        ├── WeightsValueError          weights that hold NaN, infinity or a negative variance
        └── IntegrityError             a file whose sha256 is not the declared one

Catch `SegzooError` for all of them. Each reads as one line that names the file, what was found,
what was expected and what to do next; the parts are attributes too:

    try:
        model = segzoo.load("u2nett")
    except segzoo.SegzooError as error:
        print(error.next_step)
"""

from os import PathLike, fspath
from typing import ClassVar

__all__ = [
    "AmbiguousModelError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DatasetError",
    "DependencyMissingError",
    "DeviceError",
    "HubAccessError",
    "HubError",
    "HubNotFoundError",
    "HubRateLimitError",
    "IntegrityError",
    "LicenseError",
    "NonFiniteError",
    "OfflineError",
    "OutputError",
    "PictureError",
    "PictureTooLargeError",
    "PluginError",
    "PluginMissingError",
    "ResourceError",
    "RunError",
    "SegzooError",
    "UnknownModelError",
    "UnsafeArchiveError",
    "UnsafeFormatError",
    "UsageError",
    "WeightsFormatError",
    "WeightsMismatchError",
    "WeightsMissingError",
    "WeightsValueError",
]


class SegzooError(Exception):
    """What went wrong, in one line.

    problem: what is wrong, without a full stop. file: the file it concerns. found, expected: the
    two sides of the disagreement. next_step: what to do, as a command or a sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        problem: str,
        *,
        file: str | PathLike[str] = "",
        found: str = "",
        expected: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = printable(fspath(file))
        self.found = found
        self.expected = expected
        self.next_step = next_step

    def __str__(self) -> str:
        text = f"{self.file}: {self.stated}" if self.file else self.stated
        return printable(f"{text}. {self.next_step}" if self.next_step else text)

    @property
    def stated(self) -> str:
        """The problem, with what was found and expected; without the file and the next step."""
        text = self.problem
        if self.found:
            text += f"; found {self.found}"
        if self.expected:
            text += f"{',' if self.found else ';'} expected {self.expected}"
        return printable(text)


def printable(text: str) -> str:
    """`text` on one line: control characters and lone surrogates are written as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UsageError(SegzooError):
    """The call, a name, an option or a setting is wrong."""

    exit_code = 2


class UnknownModelError(UsageError):
    """No installed model has this name."""


class AmbiguousModelError(UsageError):
    """Several distributions offer a model of this name."""


class PluginError(UsageError):
    """A plugin breaks the contract, or broke while it was loaded."""


class PluginMissingError(UsageError):
    """Saved weights name a plugin that is not installed here."""


class DependencyMissingError(UsageError):
    """A library that this needs is not installed."""


class WeightsMissingError(UsageError):
    """The model has no weights, or none of this tag."""


class ConfigError(UsageError):
    """A config.json, or an option of a model, that cannot be used."""


class DeviceError(UsageError):
    """The device that was asked for is not there."""


class OutputError(UsageError):
    """Results cannot be written where they were asked for."""


class LicenseError(UsageError):
    """Weights whose licence, or whose data's, is not one that was asked for."""


class RunError(UsageError):
    """A training run that cannot be started, continued or shared."""


class HubError(SegzooError):
    """The Hub answered with an error, or something on the way to it did."""

    exit_code = 4


class HubAccessError(HubError):
    """The Hub wants a token, another token, or its terms accepted."""


class HubNotFoundError(HubError):
    """The Hub has no such repository, revision or file, or none that this token may see."""


class HubRateLimitError(HubError):
    """The Hub wants fewer requests."""


class OfflineError(HubError):
    """The Hub cannot be reached, and what was asked for is not in the cache."""


class ResourceError(SegzooError):
    """Memory or disk is not enough."""

    exit_code = 5


class NonFiniteError(SegzooError):
    """A loss or a gradient became NaN or infinite."""

    exit_code = 6


class DataError(SegzooError):
    """A file that is corrupt, unsafe or of another kind than expected."""

    exit_code = 3


class PictureError(DataError):
    """A picture that cannot be decoded."""


class PictureTooLargeError(PictureError):
    """A picture with more pixels than the limit."""


class DatasetError(DataError):
    """A data set that cannot be trained on or measured with."""


class CheckpointError(DataError):
    """A checkpoint that is damaged, or of another run."""


class UnsafeArchiveError(DataError):
    """An archive that would write where it should not, or more than it should."""


class UnsafeFormatError(DataError):
    """A file that could run code, or that is not what its name says."""


class WeightsFormatError(DataError):
    """A safetensors file whose header or length is wrong."""


class WeightsMismatchError(DataError):
    """Weights whose names, shapes or types are not the network's."""


class WeightsValueError(DataError):
    """Weights that hold NaN, infinity or a negative variance."""


class IntegrityError(DataError):
    """A file whose sha256 is not the declared one."""
