"""The faults of a data set: each is found, counted and named, and a sound set has none."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import real
from PIL import Image

from segzoo.data.check import Item, Sizes, check
from segzoo.data.sample import Info, Sample
from segzoo.data.source import open_data
from segzoo.data.statistics import mean_and_std
from segzoo.errors import DatasetError, PictureError, ResourceError
from segzoo.spec import Preprocess

LOSSY = (
    "A mask that was compressed with loss, or smoothed? If it is black and white, say threshold=128"
)


class Listed:
    """Samples of a list; an exception among them is raised when it is asked for."""

    def __init__(self, samples, **info):
        self.samples = samples
        self.info = Info(**info)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        if isinstance(self.samples[index], Exception):
            raise self.samples[index]
        return self.samples[index]


class Streamed:
    """The same, one after the other."""

    def __init__(self, samples, **info):
        self.samples = samples
        self.info = Info(**info)

    def __iter__(self):
        for sample in self.samples:
            if isinstance(sample, Exception):
                raise sample
            yield sample


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def sample(target, *, seed=0, name="a", image=None, **more):
    target = np.asarray(target)
    if image is None:
        image = noise(*target.shape[-2:], 3, seed=seed)
    return Sample(image=image, target=target, id=name, **more)


def found(findings):
    """{problem: (count, next step, names and details)}"""
    return {
        f.problem: (f.count, f.next_step, [(item.name, item.detail) for item in f.items])
        for f in findings
    }


def plane(*values, shape=(4, 5)):
    """(H, W) uint8 that holds these values in turn."""
    return np.resize(np.array(values), shape).astype(np.uint8)


# --- what a sound set holds ----------------------------------------------------------------------


def test_a_sound_set_has_no_faults():
    report = check(
        Listed(
            [sample(plane(0, 1, 2), name="a"), sample(plane(2, 255), name="b", seed=1)],
            classes=("sky", "sea", "land"),
            ignore_index=255,
        )
    )
    assert report.ok and report.faults == report.notes == ()
    assert report.samples == 2
    assert [(c.index, c.name, c.pixels, c.pictures) for c in report.classes] == [
        (0, "sky", 7, 1),
        (1, "sea", 7, 1),
        (2, "land", 16, 2),
    ]
    assert (report.pixels, report.ignored) == (30, 10)
    assert report.sizes == Sizes(smallest=(4, 5), median=(4, 5), largest=(4, 5))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))))
def test_counts_and_sizes_are_those_of_all_samples_together(shapes):
    samples = [
        sample(noise(h, w, seed=n) % 5, image=noise(h, w, c, seed=n), name=str(n))
        for n, (h, w, c) in enumerate(shapes)
    ]
    report = check(Listed(samples, classes=tuple("abcd"), ignore_index=4))
    targets = [s["target"] for s in samples]
    for index, row in enumerate(report.classes):
        assert row.pixels == sum(int((t == index).sum()) for t in targets)
        assert row.pictures == sum(bool((t == index).any()) for t in targets)
    assert report.ignored == sum(int((t == 4).sum()) for t in targets)
    assert report.pixels + report.ignored == sum(t.size for t in targets)
    areas = sorted((h * w, h, w) for h, w, _ in shapes)
    if not areas:
        assert report.sizes is None and report.mean == report.std == ()
        return
    middle = areas[(len(areas) - 1) // 2]
    assert report.sizes.smallest == areas[0][1:]
    assert report.sizes.median == middle[1:]
    assert report.sizes.largest == areas[-1][1:]


@pytest.mark.parametrize(
    ("mode", "in_channels", "pillow"), [("RGB", 3, "RGB"), ("RGB", 4, "RGBA"), ("L", 1, "L")]
)
@pytest.mark.parametrize("rescale", ["255", "none", "image_max"])
def test_mean_and_spread_are_numpys_over_all_pixels(mode, in_channels, pillow, rescale):
    images = [noise(7, 5, 3, seed=1), noise(3, 11, 3, seed=2) // 3, noise(6, 6, 1, seed=3)]
    if in_channels == 4:
        images = [noise(7, 5, 4, seed=1), noise(3, 11, 4, seed=2) // 3]
    samples = [sample(np.zeros(i.shape[:2], np.uint8), image=i) for i in images]
    values = []
    for image in images:
        im = Image.fromarray(image.squeeze())
        pixels = np.asarray(im if in_channels == 4 else im.convert("RGB").convert(pillow))
        divisor = {"255": 255, "none": 1, "image_max": pixels.max()}[rescale]
        values.append(pixels.reshape(-1, in_channels) / divisor)
    values = np.concatenate(values)
    mean, std = mean_and_std(Listed(samples), Preprocess(mode=mode, rescale=rescale), in_channels)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, np.maximum(values.std(axis=0), 1e-3), rtol=1e-9)


def test_mean_and_spread_are_what_a_recipe_takes():
    samples = [sample(plane(0), image=noise(4, 5, c, seed=c)) for c in (1, 3, 4)]
    report = check(Listed(samples))
    assert (report.mean, report.std) == mean_and_std(Listed(samples), Preprocess(), 3)


def test_maps_that_overlap_are_counted_class_by_class():
    maps = np.array([[[1, 1, 0]], [[0, 1, 0]], [[0, 0, 0]]], np.uint8)
    report = check(Listed([sample(maps)], classes=("a", "b", "c")))
    assert [(c.pixels, c.pictures) for c in report.classes] == [(2, 1), (1, 1), (0, 0)]
    assert report.pixels == 3
    assert found(report.notes)["classes that no pixel has"] == (1, "", [("c", "")])


@pytest.mark.parametrize(
    ("target", "num_classes", "names"),
    [
        (plane(0, 1), None, ["background", "cell"]),
        (plane(0, 255), None, ["background", "cell"]),  # as predictions are written
        (plane(0, 1), 2, ["background", "cell"]),
        (plane(0, 1), 3, ["0", "1", "2"]),
        (plane(0, 1)[None], None, ["background", "cell"]),
    ],
)
def test_one_class_is_counted_with_its_background(target, num_classes, names):
    report = check(Listed([sample(target)], classes=("cell",)), num_classes=num_classes)
    assert [c.name for c in report.classes] == names
    assert [c.pixels for c in report.classes[:2]] == [10, 10]
    assert report.ok


def test_a_report_is_data():
    report = check(Listed([sample(plane(0, 9)), sample(plane(0))], classes=("a", "b")))
    record = json.loads(json.dumps(dataclasses.asdict(report)))
    assert record["faults"][0]["items"] == [
        {"name": "a", "detail": "found 9 (10 pixels), expected 0 to 1"}
    ]
    assert record["sizes"]["median"] == [4, 5]


# --- faults --------------------------------------------------------------------------------------

VALUES = "the target holds values that are no class"
SMOOTH = plane(*[0] * 40, *range(12), *[255] * 40, *range(244, 256), shape=(16, 20))


@pytest.mark.parametrize(
    ("bad", "problem", "name", "detail", "next_step"),
    [
        pytest.param(
            sample(plane(0, 7)), VALUES, "a", "found 7 (10 pixels), expected 0 to 2",
            "Give the right number of classes, or their stored values in their order: values=A,B,C",
            id="M1-label-7-of-3",
        ),
        pytest.param(
            sample(plane(0, 1, 2, 255)), VALUES, "a", "found 255 (5 pixels), expected 0 to 2",
            "If 255 does not count, say ignore_index=255",
            id="M1-255-undeclared",
        ),
        pytest.param(
            sample(plane(0, 255)), VALUES, "a", "found 255 (10 pixels), expected 0 to 2",
            "Masks of black and white: say values=0,255",
            id="M1-black-and-white",
        ),
        pytest.param(
            sample(SMOOTH), VALUES, "a", None,
            LOSSY,
            id="M1-antialiased",
        ),
        pytest.param(
            sample(plane(0).astype(np.float32)), "target has a wrong type or shape", "a",
            "found float32 (4, 5), expected integers (H, W), or (K, H, W)", "",
            id="M1-float",
        ),
        pytest.param(
            sample(plane(0, shape=(5, 4)), image=noise(4, 5, 3)),
            "target is not as large as the picture: its height and width are exchanged", "a",
            "found target 5x4, expected 4x5 (height x width)", "",
            id="M2-swapped",
        ),
        pytest.param(
            sample(plane(0, shape=(3, 5)), image=noise(4, 5, 3)),
            "target is not as large as the picture", "a",
            "found target 3x5, expected 4x5 (height x width)", "",
            id="M2-size",
        ),
        pytest.param(
            PictureError("it is cut short", file="b.png"), "it is cut short", "b.png", "", "",
            id="unreadable",
        ),
        pytest.param(
            KeyError("label"), "the sample cannot be read", "sample 1", "found KeyError: 'label'",
            "", id="own-data-set",
        ),
        pytest.param(
            (1, 2), "a data set gave something that is not a sample", "sample 1",
            "found tuple, expected a mapping with 'image', 'target' and 'id'", "",
            id="not-a-sample",
        ),
    ],
)  # fmt: skip
def test_a_sample_that_cannot_be_used_is_a_fault(bad, problem, name, detail, next_step):
    good = sample(plane(0, 1, 2), name="good", seed=9)
    report = check(Listed([good, bad, good], classes=("a", "b", "c")))
    assert not report.ok
    count, step, items = found(report.faults)[problem]
    assert (count, step, items[0][0]) == (1, next_step, name)
    assert detail is None or items[0][1] == detail
    assert [c.pixels for c in report.classes] == [14, 14, 12]  # the good ones are counted
    assert report.samples == 3


def test_a_target_that_is_no_use_leaves_its_picture_counted():
    samples = [sample(plane(0, 9), name="a"), sample(plane(0, 1), name="b", seed=1)]
    report = check(Listed(samples, classes=("a", "b")))
    assert (report.mean, report.std) == mean_and_std(Listed(samples), Preprocess(), 3)
    assert report.pixels == 20


def test_twenty_of_a_kind_are_listed_and_all_are_counted():
    samples = [sample(plane(0, 9), name=f"n{n}", seed=n) for n in range(50)]
    (fault,) = check(Listed(samples), num_classes=2).faults
    assert fault.count == 50
    assert [item.name for item in fault.items] == [f"n{n}" for n in range(20)]


def test_kinds_beyond_twenty_are_one():
    samples = [DatasetError(f"fault {n}", file="f", next_step=f"do {n}") for n in range(30)]
    faults = check(Listed(samples)).faults
    assert len(faults) == 21
    assert (faults[-1].problem, faults[-1].count, faults[-1].next_step) == (
        "other problems",
        10,
        "",
    )


@pytest.mark.parametrize("empty", [Listed([]), Streamed([])])
def test_an_empty_set_is_a_fault(empty):  # M4
    report = check(empty, num_classes=2)
    assert found(report.faults) == {"the data set is empty": (1, "", [])}
    assert report.sizes is None and report.mean == () and report.notes == ()


# --- notes ---------------------------------------------------------------------------------------


def test_masks_that_are_ignored_all_over():  # M3
    samples = [sample(plane(255), name="void"), sample(plane(0, 1, 255), name="b", seed=1)]
    report = check(Listed(samples, classes=("a", "b"), ignore_index=255))
    assert report.ok
    assert found(report.notes) == {"masks whose pixels are all ignored": (1, "", [("void", "")])}


def test_classes_that_never_occur_are_named():  # M4
    report = check(Listed([sample(plane(1))], classes=("sky", "sea", "land")))
    assert report.ok
    assert found(report.notes) == {
        "classes that no pixel has": (2, "", [("sky", ""), ("land", "")])
    }


@pytest.mark.parametrize(
    ("target", "next_step"),
    [
        (plane(0, 1, 2), "Say their names: classes=A,B,C; or how many they are"),
        (plane(0, 255), "Masks of black and white: say values=0,255"),
        (plane(0, 1, 2, 255), "If 255 does not count, say ignore_index=255"),
        (SMOOTH, LOSSY),
    ],
)
def test_values_that_nothing_explains_are_shown_with_a_hint(target, next_step):
    report = check(Listed([sample(target)]))
    assert report.ok and report.num_classes is None
    assert found(report.notes) == {
        "nothing says which classes there are: values are not judged": (1, next_step, [])
    }
    assert [c.index for c in report.classes] == np.unique(target).tolist()


# --- the same picture twice ----------------------------------------------------------------------


def test_pictures_that_are_there_twice():
    image, other = noise(4, 5, 3), noise(4, 5, 3, seed=1)
    samples = [
        sample(plane(0, 1), image=image, name="a"),
        sample(plane(0, 1), image=other, name="b"),
        sample(plane(0, 1), image=image.copy(), name="c"),
        sample(plane(1, 0), image=image, name="d"),
        sample(plane(0, 1, shape=(2, 10)), image=image.reshape(2, 10, 3), name="e"),  # as bytes
    ]
    report = check(Listed(samples, classes=("a", "b")))
    assert report.ok
    assert found(report.notes) == {
        "pictures that the set has already": (1, "", [("c", "is a again")]),
        "pictures that the set has already, with another mask": (
            1,
            "",
            [("d", "is a again, with another mask")],
        ),
    }


def test_pictures_of_another_split():
    ours = Listed([sample(plane(0), name=f"a{n}", seed=n) for n in range(4)])
    theirs = Listed(
        [PictureError("cut", file="x")]
        + [sample(plane(9), name=f"b{n}", seed=n) for n in (7, 2, 3, 2)]
    )
    report = check(ours, num_classes=2, others={"test": theirs, "val": Listed([])})
    assert found(report.faults) == {
        "pictures that are in test too": (
            2,
            "",
            [("a2", "is b2 there"), ("a3", "is b3 there")],
        )
    }
    assert found(report.notes)["samples of test that cannot be read: check it too"][0] == 1


@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.lists(st.integers(0, 5), max_size=12),
    st.booleans(),
)
def test_repeats_are_those_of_every_pair_compared(ours, theirs, streams):
    def of(numbers, letter):
        samples = [
            sample(plane(0), name=f"{letter}{place}", seed=number)
            for place, number in enumerate(numbers)
        ]
        return (Streamed if streams else Listed)(samples, classes=("x", "y"))

    def named(letter, place):
        return f"sample {place}" if streams else f"{letter}{place}"

    report = check(of(ours, "a"), others={"other": of(theirs, "b")})
    again = [
        (named("a", p), f"is {named('a', ours.index(n))} again")
        for p, n in enumerate(ours)
        if n in ours[:p]
    ]
    shared = [
        (named("a", p), f"is {named('b', theirs.index(n))} there")
        for p, n in enumerate(ours)
        if n in theirs
    ]
    notes, faults = found(report.notes), found(report.faults)
    assert notes.get("pictures that the set has already", (0, "", []))[2] == again
    assert faults.get("pictures that are in other too", (0, "", []))[2] == shared


# --- how it is read ------------------------------------------------------------------------------


def faulty():
    samples = [sample(plane(0, 1, n % 5), name=f"s{n}", seed=n % 30) for n in range(40)]
    samples[3] = DatasetError("cut", file="c.png", found="x", expected="y", next_step="z")
    samples[21] = ValueError("odd")
    return samples


def test_processes_find_what_one_finds():
    dataset = Listed(faulty(), classes=tuple("abcd"))
    others = {"test": Listed(faulty()[:5])}
    alone = check(dataset, others=others)
    assert check(dataset, others=others, workers=2) == alone
    assert not alone.ok and alone.notes


def test_a_stream_is_checked_as_a_list_is():
    samples = [s for s in faulty() if not isinstance(s, Exception)]
    streamed = check(Streamed(samples, classes=tuple("abcd")))
    listed = check(Listed(samples, classes=tuple("abcd")))
    same = [f.name for f in dataclasses.fields(listed) if f.name != "notes"]  # which have numbers
    assert [getattr(streamed, n) for n in same] == [getattr(listed, n) for n in same]
    assert streamed.notes[0].items[0] == Item("sample 28", "is sample 0 again")


def test_a_stream_that_breaks_is_a_fault_and_ends():
    samples = [sample(plane(0, 1)), OSError("gone"), sample(plane(0, 1))]
    report = check(Streamed(samples), num_classes=2)
    assert found(report.faults) == {
        "the sample cannot be read": (1, "", [("sample 1", "found OSError: gone")])
    }
    assert report.samples == 2


class Deadly(Listed):
    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_said_so():
    with pytest.raises(ResourceError) as caught:
        check(Deadly([sample(plane(0))]), workers=1)
    assert str(caught.value).startswith("a process that reads the data set ended; found ")
    assert caught.value.next_step == (
        "Check it with workers=0; a killed one often means too little memory"
    )


class Endless:
    """Samples that are made when they are asked for, with long names."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index >= self.length:
            raise IndexError(index)
        image = np.full((1, 4, 1), index & 255, np.uint8)
        image[0, 1:, 0] = (index >> 8 & 255, index >> 16 & 255, 7)
        return sample(np.zeros((1, 4), np.uint8), image=image, name=f"{index}" * 200)


def peak(length):
    tracemalloc.start()
    try:
        check(Endless(length), num_classes=2)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_hashes_alone():
    few, many = peak(200), peak(2200)
    # 36 bytes that are kept, and what it takes to sort them: nothing like names of 800 letters
    assert (many - few) / 2000 < 250


def test_reading_here_does_without_torch(tmp_path):
    code = """
import sys
sys.modules["torch"] = None
from segzoo.data.check import check
from segzoo.data.source import open_data
print(check(open_data(sys.argv[1])).samples)
"""
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / place / "a.png")
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("1\n", "")


# --- real sets -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pack", "words", "samples", "largest", "indices"),
    [
        ("ecssd", "folder:{}/test?values=0,255", 850, (320, 320), [0, 1]),
        ("em_isbi2012", "folder:{}/train?values=0,255", 20, (512, 512), [0, 1]),
        ("camvid", "camvid:{}?split=train", 312, (288, 384), [*range(11)]),
    ],
)
def test_a_real_set_is_as_it_is_described(pack, words, samples, largest, indices):
    report = check(open_data(words.format(real(pack))))
    assert report.ok and report.notes == ()
    assert (report.samples, report.sizes.largest) == (samples, largest)
    assert [c.index for c in report.classes if c.pixels] == indices
    assert (report.ignored > 0) == (pack == "camvid")


@pytest.mark.slow
def test_splits_of_a_real_set_share_no_picture():
    splits = {
        split: open_data(f"camvid:{real('camvid')}?split={split}") for split in ("val", "test")
    }
    report = check(open_data(f"camvid:{real('camvid')}?split=train"), others=splits)
    assert report.ok
    for one, other in itertools.permutations(splits, 2):
        assert check(splits[one], others={other: splits[other]}).ok
