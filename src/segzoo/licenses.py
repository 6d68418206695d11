"""Which licences let anybody use weights for anything."""

from segzoo.spec import Weights

__all__ = ["PERMISSIVE", "is_permissive", "matches"]

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


def is_permissive(weights: Weights) -> bool:
    """Whether the weights' own licence and that of all their training data are permissive."""
    return {weights.license, *(data.license for data in weights.trained_on)} <= PERMISSIVE


def matches(weights: Weights, wanted: str) -> bool:
    """Whether weights pass a `--license` filter: "permissive", or a licence of their own."""
    if wanted.lower() == "permissive":
        return is_permissive(weights)
    return weights.license.lower() == wanted.lower()
