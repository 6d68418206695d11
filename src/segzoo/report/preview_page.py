"""Samples of a data set as a page: pictures with their masks to slide over them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzoo.base.counts import count_of
from segzoo.data.sample import Info, Sample
from segzoo.report.evaluation_page import foot
from segzoo.report.exhibits import SIDE, exhibit_of
from segzoo.report.page import FactList, Gallery, Section, WebPage
from segzoo.report.panels import draw_samples

__all__ = ["page_of_samples"]

ORDER = ("picture", "overlay", "mask", "weight")
GRAY = (188, 188, 188)  # stands for the stripes of pixels that do not count


def page_of_samples(
    samples: Sequence[Sample], *, words: str, info: Info, ignore_index: int | None, note: str = ""
) -> WebPage:
    """The page of some samples. words: of their data set. note: how they were chosen or changed."""
    drawn = draw_samples(samples, info=info, ignore_index=ignore_index)
    exhibits = [
        exhibit_of(
            {name: _reduced(row[name], exact=name == "mask") for name in ORDER if name in row},
            caption=sample["id"],
            value=_size(row),
        )
        for sample, row in zip(samples, drawn.rows, strict=True)
    ]
    keys = [(name, colour or GRAY) for name, colour in drawn.legend]
    about = [
        ("words", words),
        ("classes", ", ".join(info.classes[:200]) or "not named"),
        ("ignored value", "none" if ignore_index is None else str(ignore_index)),
    ]
    return WebPage(
        kicker="segzoo \u00b7 data preview",
        title=words,
        lead=f"{count_of(len(samples), 'sample')}. {note}".strip(),
        sections=[
            Section(
                "pictures",
                "Pictures",
                [Gallery(exhibits, keys=keys)],
                note="Slide from the picture to the overlay, to the mask.",
            ),
            Section("data", "Data", [FactList(about)]),
        ],
        foot=foot(),
    )


def _size(row: Mapping[str, NDArray[np.uint8]]) -> str:
    height, width = row["picture"].shape[:2]
    return f"{height} x {width}"


def _reduced(picture: NDArray[np.uint8], *, exact: bool) -> NDArray[np.uint8]:
    """No larger than a person sees on a page. exact: of colours that are there alone."""
    step = max(1, max(picture.shape[:2]) // SIDE)
    if exact:
        return picture[::step, ::step]
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).reduce(step))
