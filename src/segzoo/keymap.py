"""What plugins say of other programs' weights: key maps of files, and kinds of folders, as data.

A plugin declares, in the entry-point group "segzoo.converters" under its model's name, a mapping of
layout names to `Converter`s. `segzoo convert` does the rest; no code of the plugin runs.

    [project.entry-points."segzoo.converters"]
    my_net = "segzoo_my_net.convert:CONVERTERS"

In the group "segzoo.folders", under any name, it declares a `SavedFolder`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from segzoo.base.records import Json, Record

__all__ = ["KERAS_CHANGES", "KERAS_RULES", "Converter", "SavedFolder"]

CHANGES = ("keras_kernel",)  # what `segzoo.runs.convert` knows to do to a tensor

# Layers come from `segzoo.weights.keras` as "conv2d_0/kernel" and so on.
KERAS_RULES = (
    ("/kernel$", ".weight"),
    ("/bias$", ".bias"),
    ("/gamma$", ".weight"),
    ("/beta$", ".bias"),
    ("/moving_mean$", ".running_mean"),
    ("/moving_variance$", ".running_var"),
)
KERAS_CHANGES = (("/kernel$", "keras_kernel"),)


@dataclass(frozen=True, kw_only=True)
class Converter(Record):
    """One layout of files that a network's weights come in. Patterns are regular expressions.

    summary: whose layout it is, in one line.
    detect, absent: each of `detect` is found in a name of such a file, none of `absent` is.
    rules: (pattern, replacement), applied one after the other to each name: what the pattern finds
        first becomes the replacement. The result is the network's name.
    changes: (pattern, change) for the tensors of the names in which the pattern is found.
        "keras_kernel": (kH, kW, a, b) -> (b, a, kH, kW), for kernels of plain and of transposed
        convolutions alike.
    leave_out: tensors whose names hold one of these are not of the network.
    options: of the model that such a file is of.
    part: the prefix of the parameters that the file holds, "backbone." say, where it does not hold
        all of them.
    folded_norms: the file's convolutions hold the batch normalisations that followed them. Those of
        the network become the identity: weight 1, bias 0, mean 0, variance 1 - eps.
    hashed_name: files are called NAME-xxxxxxxx.pth after the first hex digits of their sha256.
    excerpt: the network holds a part of the file's network, taken out of it as timm takes a network
        apart for its features: what stood around the part is gone or is new, "stages.0" may be
        called "stages_0", and modules of which the network has nothing are left out. For backbones
        (`segzoo train --backbone`), and not for `segzoo convert`.
    """

    summary: str
    detect: tuple[str, ...]
    absent: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...]
    changes: tuple[tuple[str, str], ...] = ()
    leave_out: tuple[str, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)
    part: str = ""
    folded_norms: bool = False
    hashed_name: bool = False
    excerpt: bool = False

    def _faults(self) -> list[str]:
        faults = []
        if not self.summary or not self.summary.isprintable():
            faults.append("summary is not one line of text")
        if not self.detect:
            faults.append("detect is empty")
        if self.excerpt and not self.part:
            faults.append("excerpt goes with part")
        named = (*self.rules, *self.changes)
        for pattern in (*self.detect, *self.absent, *self.leave_out, *(p for p, _ in named)):
            try:
                re.compile(pattern)
            except re.error as error:
                faults.append(f"{pattern!r} is not a regular expression: {error}")
        for _, change in self.changes:
            if change not in CHANGES:
                faults.append(f"{change!r} is not one of {', '.join(CHANGES)}")
        return faults

    def detects(self, names: Iterable[str]) -> bool:
        """Whether a file of tensors with these names is of this layout."""
        names = [*names]

        def occurs(pattern: str) -> bool:
            return any(re.search(pattern, name) for name in names)

        return all(map(occurs, self.detect)) and not any(map(occurs, self.absent))

    def leaves_out(self, name: str) -> bool:
        return any(re.search(pattern, name) for pattern in self.leave_out)

    def renamed(self, name: str) -> str:
        """The network's name of a tensor."""
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name, count=1)
        return name

    def changes_of(self, name: str) -> list[str]:
        """What is done to the tensor that the file has under this name."""
        return [change for pattern, change in self.changes if re.search(pattern, name)]


@dataclass(frozen=True, kw_only=True)
class SavedFolder(Record):
    """A kind of folder that another library saves: model.safetensors beside a config.json.

    summary: what writes it, in a few words.
    keys: names that its config.json has, all of them.
    arguments: the import path of a function from what config.json holds to a model's name and its
        options, "num_classes", "in_channels" and where it says them the names of "classes" among
        them; ValueError says what no model of ours can do. Empty for folders that hold no network
        of ours.
    """

    summary: str
    keys: tuple[str, ...]
    arguments: str = ""

    def _faults(self) -> list[str]:
        faults = [] if self.summary and self.summary.isprintable() else ["summary is not one line"]
        if not self.keys:
            faults.append("keys is empty")
        if self.arguments and self.arguments.count(":") != 1:
            faults.append(f"arguments={self.arguments!r} is not 'module:attribute'")
        return faults
