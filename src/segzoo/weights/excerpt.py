"""Which of a file's tensors are those of a network that was taken out of the file's network.

A library takes its classifiers apart for their features: modules are left away, "stages.0" becomes
"stages_0", and something is put around the rest. The names say how, so no table is needed.
"""

from collections.abc import Collection, Mapping

__all__ = ["names_in_excerpt"]


def names_in_excerpt(names: Mapping[str, str], own: Collection[str], part: str) -> dict[str, str]:
    """The network's name of each tensor of a file that is the network's, by the file's name.

    names: by the file's names those that its key map makes of them. own: the network's, which all
    begin with `part`. A tensor without a namesake keeps its name where it belongs to a module of
    which the network has something, so that another network's is noticed, and is left out where it
    does not.
    """
    bare = _unwrapped({name: name.removeprefix(part) for name in own}, [*names.values()])
    by_flat = {_flat(short): name for name, short in bare.items()}
    modules = {short.partition(".")[0] for short in bare.values()}
    found = {}
    for old, new in names.items():
        namesake = by_flat.get(_flat(new))
        if namesake is not None:
            found[old] = namesake
        elif not modules.isdisjoint(_modules_of(new)):
            found[old] = part + new
    return found


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _modules_of(name: str) -> tuple[str, str]:
    """The module at the top that a tensor is of, as it may be called: "stages" or "stages_0"."""
    first, _, rest = name.partition(".")
    return first, f"{first}_{rest.partition('.')[0]}"


def _unwrapped(bare: dict[str, str], others: Collection[str]) -> dict[str, str]:
    """The names without modules that are around all of them and of which the file knows none."""
    known = {module for name in others for module in _modules_of(name)}
    while bare:
        first = next(iter(bare.values())).partition(".")[0] + "."
        if first[:-1] in known or not all(name.startswith(first) for name in bare.values()):
            break
        bare = {name: short.removeprefix(first) for name, short in bare.items()}
    return bare
