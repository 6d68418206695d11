"""Which licences let anybody use weights for anything."""

from collections.abc import Iterable

from segzoo.errors import LicenseError, printable
from segzoo.spec import Dataset, ModelSpec

__all__ = ["PERMISSIVE", "faults", "is_permissive", "offers", "refuse_others"]

# SPDX identifiers. Attribution is asked for by most; none forbids commercial use or changes.
PERMISSIVE = frozenset(
    [
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC-BY-4.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "PDDL-1.0",
        "Unlicense",
    ]
)


def is_permissive(license: str) -> bool:
    """Whether a licence is one of PERMISSIVE; upper and lower case are one, as on the Hub."""
    return license.lower() in map(str.lower, PERMISSIVE)


def faults(license: str, trained_on: Iterable[Dataset], wanted: str) -> list[str]:
    """Why weights do not pass, in words; none when they do.

    license: of the weights. trained_on: their data. wanted: "permissive", which both must be, or
    the SPDX identifier that the weights' own licence must be.
    """
    if wanted.lower() != "permissive":
        return [] if license.lower() == wanted.lower() else [f"the weights' is {_said(license)}"]
    found = [] if is_permissive(license) else [f"the weights' is {_said(license)}"]
    return found + [
        f"that of the data set '{printable(data.name)}' is {_said(data.license)}"
        for data in trained_on
        if not is_permissive(data.license)
    ]


def offers(spec: ModelSpec, wanted: str) -> bool:
    """Whether a model has weights that pass."""
    return any(not faults(w.license, w.trained_on, wanted) for w in spec.weights.values())


def refuse_others(wanted: str, what: str, license: str, trained_on: Iterable[Dataset]) -> None:
    """LicenseError, with every reason, for weights of another licence than the wanted one.

    what: their name, for the message.
    """
    if found := faults(license, trained_on, wanted):
        permissive = wanted.lower() == "permissive"
        raise LicenseError(
            f"{printable(what)[:200]} is not under the licence asked for: {'; '.join(found)}",
            expected=f"one of {', '.join(sorted(PERMISSIVE))}" if permissive else printable(wanted),
            next_step=f"See: segzoo list --license {printable(wanted)}",
        )


def _said(license: str) -> str:
    return f"'{printable(license)}'" if license else "not stated"
