"""A scene of outlines, and what other programs make of it.

Each mask was made once by that program, with the versions named, and is told as the runs of its
pixels down the columns, of 0, 1, 0, ..., as COCO tells them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

HEIGHT, WIDTH = 40, 56
CLASSES = ("cell", "nucleus", "wall")  # 1, 2, 3
SHAPES = (
    ("cell", "polygon", [[4.3, 3.7], [30.2, 6.1], [35.9, 22.4], [18.5, 30.8], [3.2, 20.6]]),
    ("nucleus", "circle", [[17.4, 15.2], [23.9, 15.2]]),
    ("wall", "rectangle", [[28.6, 12.3], [50.7, 35.4]]),
    ("cell", "polygon", [[40.1, 2.2], [54.8, 2.9], [45.3, 18.7]]),
    ("nucleus", "polygon", [[30.5, 20.5], [33.5, 25.5], [48.5, 30.5], [34.5, 33.5]]),
)

# labelme 6.3.1, utils.shape.shapes_to_label, with Pillow
LABELME = {
    "cell": (
        "132 9 22 18 23 18 22 19 21 19 21 20 20 21 19 9 4 8 19 7 8 7 18 6 10 7 17 5 12 6 18 4 "
        "12 7 17 3 14 7 16 3 14 7 16 3 14 8 15 3 14 9 14 4 12 9 15 4 12 9 15 5 10 9 17 5 8 10 "
        "17 7 4 11 18 22 18 21 19 21 19 20 20 6 34 6 34 6 36 4 39 1 310 2 38 5 35 8 32 12 28 "
        "15 25 17 23 16 24 14 26 12 28 10 30 8 32 7 33 5 35 3 37 1 77"
    ),
    "nucleus": (
        "413 4 34 8 31 10 29 12 28 12 27 14 26 14 26 14 26 14 27 12 28 12 29 10 31 8 34 4 283 "
        "2 39 4 38 6 36 7 34 8 32 7 33 7 34 6 34 6 34 6 35 4 36 4 36 4 37 3 37 2 38 2 39 1 39 "
        "1 39 1 289"
    ),
    "wall": (
        "1132 24 16 24 16 8 2 14 16 9 4 11 16 11 6 7 16 13 7 4 16 14 8 2 16 14 7 3 16 14 7 3 "
        "16 15 6 3 16 15 6 3 16 15 6 3 16 16 4 4 16 16 4 4 16 16 4 4 18 15 3 4 21 12 2 5 23 "
        "10 2 5 22 12 1 5 20 14 1 5 18 16 1 5 16 24 16 24 204"
    ),
}
# ultralytics 8.4.190, data.utils.polygons2masks_overlap, with opencv 5.0.0; without the circle
ULTRALYTICS = {
    "cell": (
        "132 9 22 19 21 19 21 20 20 21 19 21 20 21 19 22 18 22 18 23 17 24 16 24 16 25 15 26 "
        "14 26 15 26 14 26 14 25 15 25 15 24 16 24 16 23 17 23 18 21 19 21 19 6 34 6 34 6 36 "
        "4 39 1 310 2 38 5 35 9 31 12 28 15 25 17 23 16 24 14 26 12 28 10 30 8 32 7 33 5 35 3 "
        "37 1 77"
    ),
    "nucleus": (
        "1220 2 39 4 38 6 36 7 33 9 32 8 32 8 32 7 34 6 34 6 34 6 35 5 35 4 36 4 37 3 37 3 37 "
        "2 39 1 39 1 289"
    ),
    "wall": (
        "1132 24 16 24 16 8 2 14 16 9 4 11 16 11 6 7 16 13 7 4 16 13 9 2 16 14 8 2 16 14 8 2 "
        "16 14 7 3 16 15 6 3 16 15 6 3 16 15 6 3 16 16 5 3 16 16 4 4 18 14 4 4 21 12 3 4 23 "
        "10 3 4 22 11 2 5 20 14 1 5 18 16 1 5 16 24 16 24 204"
    ),
}
# datumaro 1.13.12, which CVAT exports masks by: the transforms polygons_to_masks and
# boxes_to_masks, drawn by z_order; of the scene in test_reader_cvat.py
DATUMARO = {
    "cell": (
        "136 5 23 17 23 18 22 19 21 19 21 20 20 21 19 21 19 22 19 8 4 10 18 8 4 10 18 8 1 2 1 "
        "11 17 8 1 2 1 12 16 8 4 12 16 8 4 13 15 26 14 25 15 25 15 24 16 24 17 22 18 22 18 21 "
        "19 21 19 20 20 20 20 6 35 5 38 2 350 1 39 4 36 7 33 11 29 14 26 17 24 14 26 12 28 10 "
        "30 9 31 7 33 5 35 4 36 2 115"
    ),
    "nucleus": (
        "493 4 36 4 36 1 2 1 36 1 2 1 36 4 36 4 565 1 41 3 38 5 36 7 33 7 34 6 34 6 34 6 35 5 "
        "35 4 36 4 37 3 37 3 37 2 39 1 39 1 39 1 329"
    ),
    "wall": (
        "1172 23 17 23 17 10 1 12 17 12 3 8 17 13 5 5 17 14 7 2 17 14 7 2 17 15 6 2 17 15 6 2 "
        "17 15 6 2 17 16 5 2 17 16 4 3 17 16 4 3 17 17 3 3 18 16 3 3 21 13 2 4 24 11 1 4 22 "
        "13 1 4 20 15 1 4 18 22 17 23 17 23 205"
    ),
}


def class_map(told: dict[str, str], shape: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    """(H, W) of 0 and the classes' indices from 1, of the runs of each."""
    found = np.zeros(shape, np.uint8)
    for index, name in enumerate(CLASSES, 1):
        lengths = [int(word) for word in told[name].split()]
        inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        found[inside.reshape(shape[::-1]).T] = index
    return found


def beside_edges(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> bool:
    """Whether the two differ only in pixels that lie at an edge of the other program's."""
    at_edge = maximum_filter(theirs, 3) != minimum_filter(theirs, 3)
    return bool(at_edge[ours != theirs].all())
