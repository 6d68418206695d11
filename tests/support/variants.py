"""A variant of the tiny spec: fields that follow from its options."""

from segzoo.spec import Preprocess


def by_width(width: int) -> dict:
    parameters = 3 * width * 9 + width + 2 * width + width + 1
    return {
        "num_parameters": parameters,
        "preprocess": Preprocess(size=(width, width), resize="stretch"),
    }
