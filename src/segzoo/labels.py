"""Names and colours of classes, for models that declare none."""

__all__ = ["Colour", "Palette", "default_classes", "default_palette"]

Colour = tuple[int, int, int]  # red, green, blue in 0..255
Palette = tuple[Colour, ...]


def default_palette(num_classes: int) -> Palette:
    """The colour map of PASCAL VOC: black for class 0, then colours that are easy to tell apart.

    The bits of the index go in turn to red, green and blue, the lowest into the highest bit of a
    colour (Everingham et al., The PASCAL Visual Object Classes Challenge, development kit,
    VOClabelcolormap.m). Index 255 is (224, 224, 192), the border that VOC does not judge.
    """
    return tuple(
        (_spread(index), _spread(index >> 1), _spread(index >> 2)) for index in range(num_classes)
    )


def default_classes(num_classes: int) -> tuple[str, ...]:
    """ "foreground" for one class, else the indices as text."""
    return ("foreground",) if num_classes == 1 else tuple(map(str, range(num_classes)))


def _spread(index: int) -> int:
    """Bits 0, 3, 6, ... of an index as bits 7, 6, 5, ... of a colour."""
    return sum((index >> 3 * n & 1) << 7 - n for n in range(8))
