"""Pictures and masks in folders, paired by name.

    folder:cells?values=0,255                                  cells/images, cells/masks
    folder:drive?masks=vessels&suffix=_mask                    x.tif with vessels/x_mask.gif
    folder:pets?images=.&masks=.&suffix=_mask                  x.jpg and x_mask.png in one folder
    folder:streets?palette=camvid                              masks in that data set's colours
    folder:rooms?palette=#000000,#ff0000&classes=wall,door
    folder:labelled?values=0,255&weight=confidence             how much pixels count, in gray
    folder:cells?overlap=yes&classes=cell,nucleus              masks/cell and masks/nucleus
    folder:train?images=.&masks=.&suffix=_mask                 with the _classes.csv of Roboflow

A name is a file's path below its folder without the last extension: `a/x.v1.tif` is `a/x.v1`.
Hidden files are left out, and files of other kinds with a note that counts them. Where nothing is
said of the masks, a labelmap.txt with colours or a _classes.csv in the folder says what they mean.
"""

import os
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Unpack, overload

from segzoo.base import formats
from segzoo.data.declared import OPTIONS, Said, declared
from segzoo.data.labelmap import listed_classes
from segzoo.data.layout import of_own_classes
from segzoo.data.paired import Pair, Paired
from segzoo.data.readers.layered import Layered, meaning_of, pair_layers
from segzoo.data.readers.weighed import Weighed, provenance_of
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_folder"]

SPEC = ReaderSpec(
    summary="pictures and masks in folders, paired by name",
    open="segzoo.data.readers.folder:open_folder",
    options={
        "images": Option(default="images", help="the folder of pictures"),
        "masks": Option(default="masks", help="the folder of masks"),
        "suffix": Option(default="", help="what a mask's name has after its picture's: _mask"),
        "weight": Option(
            default="", help="a folder of gray pictures that say how much pixels count, white 1"
        ),
        "overlap": Option(
            default=False, help="classes may overlap: masks has a folder for each, of its name"
        ),
        "missing": Option(
            default="error",
            choices=("error", "empty"),
            help="with overlap=yes, a picture without a class's mask: an error, or none of it",
        ),
        **OPTIONS,
    },
)

LISTS = ("labelmap.txt", "_classes.csv")  # that say the colours or the values of masks
SHOWN = 20  # names that an error lists
WHERE = "Say where they are, below that folder: images=FOLDER&masks=FOLDER"


def open_folder(
    path: str | os.PathLike[str],
    *,
    images: str = "images",
    masks: str = "masks",
    suffix: str = "",
    weight: str = "",
    overlap: bool = False,
    missing: str = "error",
    **said: Unpack[Said],
) -> Paired | Layered:
    """The data set in a folder; the module says how it is laid out.

    images, masks: folders below `path`, which may be the same one where there is a suffix.
    weight: a folder below `path` with a gray picture of each name, of how much each pixel counts.
    overlap: masks lie in a folder of each class, and a pixel may be in several.
    DatasetError for folders that are missing or empty, and one for all files that make no pair;
    UsageError for options that cannot be used.
    """
    if missing != "error" and not overlap:
        raise UsageError("missing= is of classes that overlap", next_step="Add overlap=yes")
    if weight and overlap:
        raise UsageError("weight= is of one class per pixel, and overlap=yes of several")
    if overlap:
        return _overlapping(os.fsdecode(path), images, masks, suffix, missing, said)
    meaning = declared(**said)
    root, images, masks = os.fsdecode(path), os.path.normpath(images), os.path.normpath(masks)
    if images == masks and not suffix:
        raise UsageError(
            "pictures and masks lie in one folder, and nothing tells them apart",
            next_step="Say what the names of masks end in: suffix=_mask",
        )
    _check_there(root, images, masks)
    found = _scan(root, images, apart=masks)
    other = found if images == masks else _scan(root, masks, apart=images)
    strays, targets = _split(other.endings, suffix)
    sources, twice = found.endings, found.twice
    if images == masks:
        sources, strays = strays, {}
    else:
        twice = twice + other.twice
    if not sources:
        raise _nothing("pictures", os.path.join(root, images), found.others)
    if not targets and not strays:
        raise _nothing("masks", os.path.join(root, masks), other.others)
    others = found.others if images == masks else found.others + other.others
    _check_pairs(root, sources, targets, strays, twice, others)
    pairs = _Pairs(sources, targets, image=_below(images), mask=_below(masks), suffix=suffix)
    notes = [formats.left_out(others)]
    if not said and (own := listed_classes(root, LISTS)) and (own.in_colours or own.numbered):
        dataset = of_own_classes(root, pairs, own)
        notes.append(f"the classes are those of its {own.said_by}")
    else:
        dataset = Paired(root, pairs, info=meaning.info, target=meaning, reading=meaning.reading)
    if weight:
        weights = _weights_of(root, weight, pairs)
        dataset = Weighed(root, pairs, dataset, weights)
    dataset.notes = tuple(filter(None, [*notes, provenance_of(root)]))
    return dataset


def _weights_of(root: str, place: str, pairs: Sequence[Pair]) -> list[str]:
    """The weight's file of each pair. DatasetError where one has none."""
    place = os.path.normpath(place)
    _check_there(root, place, place)
    endings = _scan(root, place, apart=place).endings
    if lacking := [pair.id for pair in pairs if pair.id not in endings]:
        raise DatasetError(
            "there are masks without a picture of their weights",
            file=os.path.join(root, place),
            found=f"{len(lacking)}: {_series(lacking)}",
            expected="one of the same name for each mask",
        )
    return [f"{_below(place)}{pair.id}{endings[pair.id]}" for pair in pairs]


def _overlapping(
    root: str, images: str, masks: str, suffix: str, missing: str, said: Said
) -> Layered:
    """As `open_folder`, where each class has a folder of masks."""
    images, masks = os.path.normpath(images), os.path.normpath(masks)
    _check_there(root, images, masks)
    place = os.path.join(root, masks)
    with os.scandir(place) as entries:
        folders = sorted(e.name for e in entries if e.is_dir() and e.name[0] != ".")
    classes, meaning = meaning_of(said, folders)
    if lacking := [name for name in classes if name not in folders]:
        raise DatasetError(
            f"there is no folder {' and no folder '.join(map(printable, lacking))}",
            file=place,
            found=f"the folders {_series(folders)}" if folders else "no folders",
            expected="one for each of classes=",
        )
    found = _scan(root, images, apart=masks)
    if not found.endings:
        raise _nothing("pictures", os.path.join(root, images), found.others)
    others, twice = Counter(found.others), [*found.twice]
    files: dict[str, dict[str, str]] = {}
    for name in classes:
        below = os.path.join(masks, name)
        layer = _scan(root, below, apart=images)
        strays, endings = _split(layer.endings, suffix)
        others += layer.others
        twice += [*layer.twice, *(f"{stem}{ending}" for stem, ending in strays.items())]
        files[name] = {s: f"{_below(below)}{s}{suffix}{end}" for s, end in endings.items()}
    if twice:
        raise DatasetError(
            "files of one name, or without the suffix", file=root, found=_series(sorted(twice))
        )
    pictures = {stem: f"{_below(images)}{stem}{end}" for stem, end in found.endings.items()}
    return Layered(
        root,
        pair_layers(root, pictures, files, missing=missing),
        meaning=meaning,
        classes=classes,
        notes=tuple(filter(None, [formats.left_out(others)])),
    )


class _Pairs(Sequence[Pair]):
    """The pairs by name, made when they are asked for.

    A pair takes 12 bytes and its name: a tuple of three strings would take 300.
    """

    def __init__(
        self,
        images: Mapping[str, str],
        masks: Mapping[str, str],
        *,
        image: str,
        mask: str,
        suffix: str,
    ) -> None:
        self.patterns = (image, mask, suffix)
        self.kinds = sorted({*images.values(), *masks.values()})
        number = {ending: n for n, ending in enumerate(self.kinds)}
        names, self.ends, self.endings = bytearray(), array("Q"), array("H")
        for stem in sorted(images):
            names += os.fsencode(stem)
            self.ends.append(len(names))
            self.endings.extend((number[images[stem]], number[masks[stem]]))
        self.names = bytes(names)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self[n] for n in numbers]
        start = self.ends[numbers - 1] if numbers else 0
        stem = os.fsdecode(self.names[start : self.ends[numbers]])
        image, mask, suffix = self.patterns
        of_image, of_mask = (self.kinds[self.endings[2 * numbers + n]] for n in (0, 1))
        return Pair(stem, f"{image}{stem}{of_image}", f"{mask}{stem}{suffix}{of_mask}")


# --- finding the files ---------------------------------------------------------------------------


class _Files(NamedTuple):
    """The pictures of a folder and those below it.

    endings: stem -> its file's ending. twice: files whose stem another has too. others: endings of
    files that are no pictures, with how many there are.
    """

    endings: dict[str, str]
    twice: list[str]
    others: Counter[str]


def _scan(root: str, place: str, *, apart: str) -> _Files:
    """The files of the folder `place`, without those of the folder `apart` below it."""
    found = _Files({}, [], Counter())
    folder = os.path.join(root, place)
    aside = os.path.normpath(os.path.join(root, apart))
    known = frozenset(formats.endings())
    for path in _files(folder, aside if apart != place else ""):
        stem, ending = os.path.splitext(path)
        if ending.lower() not in known:
            found.others[ending.lower()] += 1
        elif stem in found.endings:
            found.twice.append(f"{_below(place)}{path} and {stem}{found.endings[stem]}")
        else:
            found.endings[stem] = sys.intern(ending)
    return found


def _files(folder: str, aside: str) -> Iterator[str]:
    """Paths relative to `folder`, with "/", sorted within each; links to folders are followed."""
    waiting, seen = [""], set[tuple[int, int]]()
    while waiting:
        below = waiting.pop()
        here = os.path.join(folder, below)
        try:
            status = os.stat(here)
            with os.scandir(here) as entries:
                listed = sorted((e.name, e.is_dir()) for e in entries if e.name[0] != ".")
        except OSError as error:
            raise DatasetError(f"cannot be read: {error.strerror}", file=here) from error
        if (status.st_dev, status.st_ino) in seen:
            continue  # a link to a folder above it
        seen.add((status.st_dev, status.st_ino))
        for name, is_folder in listed:
            if not is_folder:
                yield below + name
            elif os.path.normpath(os.path.join(here, name)) != aside:
                waiting.append(f"{below}{name}/")


def _split(endings: Mapping[str, str], suffix: str) -> tuple[dict[str, str], dict[str, str]]:
    """The stems that do not end in `suffix`, and those that do, without it."""
    without, bare = dict[str, str](), dict[str, str]()
    for stem, ending in endings.items():
        if stem.endswith(suffix):
            bare[stem.removesuffix(suffix)] = ending
        else:
            without[stem] = ending
    return without, bare


def _below(place: str) -> str:
    """What stands before a name that lies in the folder `place`."""
    return "" if place == "." else f"{place}/"


# --- faults of the set as a whole ----------------------------------------------------------------


def _check_there(root: str, images: str, masks: str) -> None:
    if not os.path.isdir(root):
        problem = "is a file, not a folder" if os.path.exists(root) else "there is no such folder"
        raise DatasetError(
            problem,
            file=root,
            expected=f"a folder with the folders {images} and {masks}",
            next_step="A .npz or .npy is read as arrays:PATH, a .tar as shards:PATH",
        )
    missing = [place for place in (images, masks) if not os.path.isdir(os.path.join(root, place))]
    if missing:
        with os.scandir(root) as entries:
            there = sorted(e.name for e in entries if e.is_dir() and e.name[0] != ".")
        whole = [
            name
            for name in there
            if all(os.path.isdir(os.path.join(root, name, place)) for place in (images, masks))
        ]
        raise DatasetError(
            f"there is no folder {' and no folder '.join(map(printable, missing))}",
            file=root,
            found=f"the folders {_series(there)}" if there else "no folders",
            next_step=f"Open one of them: folder:{os.path.join(root, whole[0])}"
            if whole
            else WHERE,
        )


def _nothing(what: str, folder: str, others: Counter[str]) -> DatasetError:
    return DatasetError(
        f"there are no {what}",
        file=folder,
        found=formats.left_out(others) or "no files",
        expected="files such as .png, .jpg, .webp, .tif, .npy",
        next_step=WHERE,
    )


def _check_pairs(
    root: str,
    images: Mapping[str, str],
    masks: Mapping[str, str],
    strays: Mapping[str, str],
    twice: Sequence[str],
    others: Counter[str],
) -> None:
    """One DatasetError about every file that makes no pair."""
    lonely = {stem: ending for stem, ending in images.items() if stem not in masks}
    orphans = {stem: ending for stem, ending in masks.items() if stem not in images}
    unpaired = len(lonely)
    alike = []
    folded = {stem.casefold(): stem for stem in orphans}
    for stem in sorted(lonely):
        if mask := folded.get(stem.casefold()):
            alike.append(f"{stem}{lonely.pop(stem)} and {mask}{orphans.pop(mask)}")
            del folded[stem.casefold()]
    first: dict[str, str] = {}
    for stem in sorted(images):
        other = first.setdefault(stem.casefold(), stem)
        if other != stem:
            alike.append(f"{other}{images[other]} and {stem}{images[stem]}")
    orphans |= strays
    faults = {
        "pictures without a mask": [f"{stem}{ending}" for stem, ending in sorted(lonely.items())],
        "masks without a picture": [f"{stem}{ending}" for stem, ending in sorted(orphans.items())],
        "files of one name": sorted(twice),
        "names that differ in case alone": alike,
    }
    if not any(faults.values()):
        return
    room, said = SHOWN, []
    for words, names in faults.items():
        if names:
            shown = ", ".join(map(printable, names[:room]))
            more = " and more" * (len(names) > room)
            said.append(f"{words}: {len(names)}" + f" ({shown}{more})" * bool(shown))
            room = max(0, room - len(names))
    raise DatasetError(
        "pictures and masks do not make pairs",
        file=root,
        found="; ".join([*said, *filter(None, [formats.left_out(others)])]),
        expected="one mask of the same name for each picture",
        next_step="If the names of masks end in something of their own, say it: suffix=_mask"
        if unpaired == len(images)
        else "Add, remove or rename these files",
    )


def _series(words: Sequence[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(map(printable, words[:SHOWN])) + more
