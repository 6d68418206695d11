"""What `segzoo predict` leaves on the disk: the outputs of each picture, whole or not there."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from segzoo.base import files, ours
from segzoo.cli.jobs import STDIO, Job, Layout
from segzoo.errors import (
    OutputError,
    PictureTooLargeError,
    ResourceError,
    SegzooError,
    printable,
)

if TYPE_CHECKING:
    from segzoo.pictures.parts import OnDisk
    from segzoo.predict.outputs import Background, Edges
    from segzoo.predict.prediction import Prediction
    from segzoo.predict.predictor import Predictor
    from segzoo.predict.tiling import Grid

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
            if layout.is_file:  # what is deeper is none of ours, and may be a home folder's all
                break
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
        from segzoo.predict.outputs import encode, render, subject_box

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
        return _written(
            predictor,
            (height, width),
            grid,
            outputs=written,
            classes=result.present,
            notes=notes,
        )

    def in_parts(self, job: Job, progress: "Callable[[int, int], object] | None") -> Written:
        """A picture that is read, seen and written some rows at a time; its outputs are TIFFs.

        progress: told how many of all its rows are done. Raises the error that it has.
        """
        from segzoo.pictures import parts
        from segzoo.predict.large import in_pieces

        preprocess = self.predictor.preprocess
        try:
            for predictor in in_pieces(self.predictor):
                with (
                    contextlib.suppress(MemoryError),
                    parts.on_disk(
                        job.source, peak=preprocess.peak, bands=preprocess.mode == "bands"
                    ) as picture,
                ):
                    return self._by_rows(job, picture, predictor, progress)
        except SegzooError as error:
            error.file = error.file or printable(job.source)
            raise
        raise PictureTooLargeError(
            "memory ran out while the network ran",
            file=job.source,
            next_step="Give a smaller --tile",
        )

    def _by_rows(
        self,
        job: Job,
        picture: "OnDisk",
        predictor: "Predictor",
        progress: "Callable[[int, int], object] | None",
    ) -> Written:
        from segzoo.pictures.tiled import TiledTiff
        from segzoo.predict.large import found_in
        from segzoo.predict.outputs import render
        from segzoo.predict.windows import AtOnce

        height, width = picture.size
        at_once = AtOnce(predictor.batch_size)
        classes = Counter[str]()
        kinds = {kind: self.layout.path(job, kind) for kind in self.layout.kinds}
        tiffs: dict[str, TiledTiff] = {}
        with contextlib.ExitStack() as stack:
            for top, prediction in found_in(predictor, picture, at_once=at_once):
                classes.update(prediction.present)
                for kind, path in kinds.items():
                    output = render(kind, prediction, palette=predictor.palette)
                    if kind not in tiffs:
                        files.make_folder(os.path.dirname(path) or ".")
                        file = stack.enter_context(files.replacing(path))
                        tiff = TiledTiff(
                            file,
                            picture.size,
                            like=output.image,
                            palette=output.palette,
                            software=ours.PREDICTED,
                        )
                        tiffs[kind] = stack.enter_context(tiff)
                    tiffs[kind].add(output.image)
                if progress is not None:
                    progress(top + len(prediction.mask), height)
        tile = predictor.tile
        notes = [*picture.notes, *at_once.notes]
        if self.predictor.tile is None:
            notes.append(f"read in parts, and run in windows: --tile {tile} (tile={tile})")
        return _written(
            predictor,
            picture.size,
            predictor.windows(height, width),
            outputs=kinds,
            classes=dict(classes),
            notes=tuple(notes),
        )


def _written(
    predictor: "Predictor",
    size: tuple[int, int],
    grid: "Grid | None",
    *,
    outputs: dict[str, str],
    classes: dict[str, int],
    notes: tuple[str, ...],
) -> Written:
    """The record of a picture of this size. grid: its windows, if it was run in such."""
    from segzoo.predict.network import logits_size
    from segzoo.predict.preprocess import network_size

    h, w = grid.largest if grid else network_size(*size, predictor.preprocess)
    return Written(
        size=size,
        tiles=(len(grid.rows), len(grid.columns)) if grid else (1, 1),
        network_input=(predictor.in_channels, h, w),
        logits=(
            predictor.num_classes,
            *logits_size(h, w, predictor.preprocess, predictor.postprocess),
        ),
        outputs=outputs,
        classes=classes,
        notes=notes,
    )


def _put(path: str, content: bytes) -> None:
    if path == STDIO:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        files.make_folder(os.path.dirname(path) or ".")
        files.write(path, content)
