"""What `segzoo predict` leaves on the disk: the outputs of each picture, whole or not there."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from segzoo.base import files, ours
from segzoo.cli.jobs import STDIO, Job, Layout
from segzoo.errors import OutputError, ResourceError, SegzooError, printable

if TYPE_CHECKING:
    from segzoo.predict.outputs import Background, Edges
    from segzoo.predict.prediction import Prediction
    from segzoo.predict.predictor import Predictor

__all__ = ["Writer", "Written", "probe", "ready"]

PROBE_BYTES = 1 << 16  # written and removed before the work begins


@contextlib.contextmanager
def ready(layout: Layout) -> Iterator[None]:
    """The folder of the outputs, made and proved to be writable; gone again if nothing is in it.

    Folders of pictures, which outputs lie beside, are there and left to each picture.
    """
    if layout.out == STDIO or layout.beside:
        yield
        return
    folder, made = layout.folder, []
    while not os.path.lexists(folder):
        made.append(folder)
        folder = os.path.dirname(folder)
    try:
        probe(layout)
        for place, _, names in os.walk(layout.folder):
            if any(name.startswith(".segzoo-") for name in names):
                files.sweep_old(place)
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # there is something in it
                os.rmdir(folder)


def probe(layout: Layout) -> None:
    """OutputError or ResourceError when nothing can be written: no permission, no space."""
    if layout.beside:
        return
    path = os.path.join(layout.folder, f".segzoo-probe-{os.getpid()}.tmp")
    try:
        files.make_folder(layout.folder)
        files.write(path, bytes(PROBE_BYTES))
    except (OutputError, ResourceError) as error:
        error.file = printable(layout.out)
        raise
    with contextlib.suppress(FileNotFoundError):  # swept by another process
        os.unlink(path)


class Written(NamedTuple):
    """A picture whose outputs are written: sizes, the files written, and pixels of each class.

    tiles: windows down and across; network_input and logits are those of the largest one.
    """

    size: tuple[int, int]
    tiles: tuple[int, int]
    network_input: tuple[int, int, int]
    logits: tuple[int, int, int]
    outputs: dict[str, str]
    classes: dict[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Writes the outputs of one picture; runs in several threads."""

    layout: Layout
    predictor: "Predictor"
    background: "Background | None"
    edges: "Edges"
    crop: bool

    def __call__(self, job: Job, result: "Prediction | SegzooError") -> Written:
        """The record of a written prediction; raises the error that a job has instead."""
        if isinstance(result, SegzooError):
            raise result
        from segzoo.predict.network import logits_size
        from segzoo.predict.outputs import encode, render, subject_box
        from segzoo.predict.preprocess import network_size

        predictor, notes = self.predictor, result.picture.notes
        box = subject_box(result) if self.crop else None
        if self.crop and box is None:
            notes = (*notes, "nothing was found, so it is not cropped")
        written = {}
        heads = (result, *result.heads) if self.layout.heads else (result,)
        for number, head in enumerate(heads):
            for kind in self.layout.kinds:
                output = render(
                    kind,
                    head,
                    palette=predictor.palette,
                    background=self.background,
                    edges=self.edges,
                    box=box,
                )
                path = self.layout.path(job, kind, number)
                _put(path, ours.signed(encode(output), by=ours.PREDICTED))
                written[f"head-{number}/{kind}" if self.layout.heads else kind] = path
        height, width = result.mask.shape
        grid = predictor.grid(height, width)
        h, w = grid.largest if grid else network_size(height, width, predictor.preprocess)
        return Written(
            size=(height, width),
            tiles=(len(grid.rows), len(grid.columns)) if grid else (1, 1),
            network_input=(predictor.in_channels, h, w),
            logits=(
                predictor.num_classes,
                *logits_size(h, w, predictor.preprocess, predictor.postprocess),
            ),
            outputs=written,
            classes=result.present,
            notes=notes,
        )


def _put(path: str, content: bytes) -> None:
    if path == STDIO:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        files.make_folder(os.path.dirname(path) or ".")
        files.write(path, content)
