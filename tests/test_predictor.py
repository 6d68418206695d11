"""From pictures to masks: what a prediction says, batches, order, errors, memory."""

import io
import itertools
import pickle
import threading

import numpy as np
import pytest
from PIL import Image

from segzoo.errors import (
    ConfigError,
    PictureError,
    PictureTooLargeError,
    PluginError,
    UsageError,
)
from segzoo.pictures.codec import Picture
from segzoo.predict import predictor as module
from segzoo.predict.network import logits_size
from segzoo.predict.prediction import Prediction
from segzoo.predict.predictor import Predictor
from segzoo.predict.preprocess import NO_CLASS
from segzoo.predict.stream import HELD_BATCHES, THREADS
from segzoo.spec import Postprocess, Preprocess

SOFTMAX = Postprocess(activation="softmax", threshold=None)


def bright(x, *, all_heads=False):
    """One class: what is brighter than 0.5; as a side output what is darker."""
    logits = 20 * (x.mean(axis=1, keepdims=True) - np.float32(0.5))
    return (logits, -logits) if all_heads else (logits,)


def strongest(x, *, all_heads=False):
    """Three classes: which of red, green and blue is the strongest."""
    return (20 * x,)


def make(runtime=bright, *, num_classes=1, postprocess=None, preprocess=None, **settings):
    return Predictor(
        runtime,
        preprocess=preprocess or Preprocess(),
        postprocess=postprocess or (Postprocess() if num_classes == 1 else SOFTMAX),
        in_channels=3,
        num_classes=num_classes,
        **settings,
    )


def picture(height, width, value=200):
    return np.full((height, width, 3), value, np.uint8)


def half_bright(height, width):
    """Bright in its upper half."""
    image = picture(height, width, 50)
    image[: height // 2] = 220
    return image


class Batches:
    """A runtime that remembers the shapes it was given."""

    def __init__(self, runtime=bright):
        self.runtime, self.shapes = runtime, []

    def __call__(self, x, *, all_heads=False):
        self.shapes.append(x.shape)
        return self.runtime(x, all_heads=all_heads)


# --- what a prediction says ----------------------------------------------------------------------


def test_one_class():
    found = make().predict(half_bright(6, 5))
    assert found.mask.dtype == np.uint8
    assert found.mask.tolist() == [[255] * 5] * 3 + [[0] * 5] * 3
    assert found.probability.dtype == np.float32
    assert found.probability.shape == (6, 5)
    expected = 1 / (1 + np.exp(-20 * (np.array([220, 50]) / 255 - 0.5)))
    np.testing.assert_allclose(found.probability[[0, 5], 0], expected, rtol=1e-5)
    assert (found.num_classes, found.classes, found.heads) == (1, (), ())
    assert found.present == {"foreground": 15}
    assert found.background is None
    assert found.found.sum() == 15


def test_several_classes():
    image = np.zeros((2, 3, 3), np.uint8)
    image[0] = np.eye(3) * 255  # red, green, blue
    image[1] = (0, 0, 200)
    found = make(strongest, num_classes=3, classes=("sky", "grass", "sea")).predict(image)
    assert found.mask.tolist() == [[0, 1, 2], [2, 2, 2]]
    assert found.probability.shape == (3, 2, 3)
    np.testing.assert_allclose(found.probability.sum(axis=0), 1, rtol=1e-6)
    assert found.present == {"sky": 1, "grass": 1, "sea": 4}
    assert make(strongest, num_classes=3).predict(image).present == {"0": 1, "1": 1, "2": 4}


def test_a_class_that_is_not_there_is_not_listed():
    assert make().predict(picture(2, 2, 0)).present == {}
    assert make(classes=("wall",)).predict(picture(2, 2)).present == {"wall": 4}
    assert make(strongest, num_classes=3).predict(picture(1, 2)).present == {"0": 2}


@pytest.mark.parametrize(
    ("classes", "background", "found"),
    [
        ((), 0, [0, 1, 1]),
        (("sky", "background", "sea"), 1, [1, 0, 1]),
        (("__background__", "cat", "dog"), 0, [0, 1, 1]),
        (("sky", "grass", "sea"), None, [1, 1, 1]),
    ],
)
def test_which_class_is_the_background(classes, background, found):
    image = np.eye(3, dtype=np.uint8)[None] * 255
    prediction = make(strongest, num_classes=3, classes=classes).predict(image)
    assert prediction.background == background
    assert prediction.found.tolist() == [list(map(bool, found))]


def test_where_a_threshold_rejects_every_class_nothing_is_found():
    image = np.array([[(255, 0, 0), (130, 130, 130)]], np.uint8)
    doubtful = Postprocess(activation="softmax", threshold=0.9)
    found = make(strongest, num_classes=3, postprocess=doubtful, classes=tuple("abc"))
    prediction = found.predict(image)
    assert prediction.mask.tolist() == [[0, NO_CLASS]]
    assert prediction.found.tolist() == [[True, False]]
    assert prediction.present == {"a": 1}


def test_side_outputs_come_when_asked_for():
    found = make().predict(half_bright(6, 5), all_heads=True)
    (side,) = found.heads
    assert isinstance(side, Prediction)
    np.testing.assert_array_equal(side.mask, 255 - found.mask)
    np.testing.assert_allclose(side.probability, 1 - found.probability, atol=1e-6)
    assert side.picture is found.picture


def test_the_picture_comes_along_with_its_notes():
    content = io.BytesIO()
    frames = [Image.new("L", (4, 3), 200), Image.new("L", (4, 3), 0)]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    found = make().predict(content.getvalue())
    assert isinstance(found.picture, Picture)
    assert found.picture.notes == ("the first of 2 frames",)
    assert found.present == {"foreground": 12}


def test_a_path_bytes_a_pil_image_and_an_array_give_the_same(tmp_path):
    image = half_bright(9, 7)
    file = tmp_path / "a.png"
    Image.fromarray(image).save(file)
    sources = [file, str(file), file.read_bytes(), Image.fromarray(image), image]
    masks = [p.mask for p in make().predict(sources)]
    assert len(masks) == 5
    for mask in masks:
        np.testing.assert_array_equal(mask, masks[-1])
    np.testing.assert_array_equal(make().predict(file).mask, masks[-1])


def test_a_list_gives_a_list_and_nothing_gives_nothing():
    assert [p.mask.shape for p in make().predict((picture(2, 3),))] == [(2, 3)]
    assert make().predict([]) == []


def test_the_mask_has_the_upright_size():
    image = Image.fromarray(half_bright(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise for display
    content = io.BytesIO()
    image.save(content, "JPEG", quality=95, exif=exif)
    mask = make().predict(content.getvalue()).mask
    assert mask.tolist() == [[0] * 2 + [255] * 2] * 6


@pytest.mark.parametrize(
    ("preprocess", "scale"),
    [
        (Preprocess(size=(8, 12), resize="stretch"), 1),
        (Preprocess(size=(10, 10), resize="letterbox"), 1),
        (Preprocess(multiple_of=16), 1),
        (Preprocess(multiple_of=4, remainder=2, margin=3), 1),
        (Preprocess(size=(6, 6), resize="stretch"), 3),
    ],
)
def test_the_mask_has_the_pictures_size_however_the_network_sees_it(preprocess, scale):
    def runtime(x, *, all_heads=False):
        m = preprocess.margin
        inner = x[:, :, m : x.shape[2] - m, m : x.shape[3] - m]
        return (bright(inner.repeat(scale, 2).repeat(scale, 3))[0],)

    settings = {"preprocess": preprocess, "postprocess": Postprocess(scale=scale)}
    mask = make(runtime, **settings).predict(half_bright(20, 30)).mask
    assert mask.shape == (20, 30)
    assert (mask[:8] == 255).all()
    assert (mask[12:] == 0).all()


def test_logits_size():
    assert logits_size(8, 9, Preprocess(), Postprocess()) == (8, 9)
    assert logits_size(572, 188, Preprocess(margin=92), Postprocess()) == (388, 4)
    assert logits_size(10, 20, Preprocess(margin=1), Postprocess(scale=3)) == (24, 54)


# --- batches and order ---------------------------------------------------------------------------


def test_pictures_of_one_network_size_run_together_whatever_is_between_them():
    runtime = Batches()
    heights = [4, 5, 4, 4, 5, 4, 4]
    sources = [half_bright(h, 3) for h in heights]
    found = make(runtime, batch_size=2).predict(sources)
    assert [p.mask.shape[0] for p in found] == heights
    for p, image in zip(found, sources, strict=True):
        np.testing.assert_array_equal(p.mask > 0, image[..., 0] > 127)
    assert sorted((n, h) for n, _, h, _ in runtime.shapes) == [(1, 4), (2, 4), (2, 4), (2, 5)]


def test_a_size_of_its_own_does_not_wait_for_ever():
    """The first picture's batch is run when too many wait behind it."""
    runtime = Batches()
    sources = itertools.chain([picture(9, 9)], (picture(4, 4) for _ in itertools.count()))
    stream = make(runtime, batch_size=2).stream(sources)
    _, first = next(stream)
    stream.close()
    assert first.mask.shape == (9, 9)
    assert len(runtime.shapes) <= HELD_BATCHES + 1


@pytest.mark.parametrize("sizes", [[(4, 4)], [(4, 4), (5, 4), (6, 4), (7, 4), (8, 4)], None])
def test_few_pictures_are_held_however_many_come(sizes):
    """sizes: in turn; None for a size of its own for each picture."""
    asked = 0

    def sources():
        nonlocal asked
        for n in range(400):
            asked += 1
            yield picture(*(sizes[n % len(sizes)] if sizes else (1 + n, 2)))

    batch_size = 4
    most = 0
    for given, (_, result) in enumerate(make(batch_size=batch_size).stream(sources())):
        assert isinstance(result, Prediction)
        most = max(most, asked - given)
    assert given == 399
    assert most <= (HELD_BATCHES + 1) * batch_size + THREADS


def test_large_pictures_run_alone_rather_than_fill_the_memory(monkeypatch):
    monkeypatch.setattr("segzoo.predict.stream.HELD_BYTES", 10)
    runtime = Batches()
    found = make(runtime, batch_size=8).predict([half_bright(6, 4)] * 10)
    assert [p.present for p in found] == [{"foreground": 12}] * 10
    assert runtime.shapes == [(1, 3, 6, 4)] * 10


def test_a_stream_gives_each_source_back_with_its_result():
    sources = [picture(2, 2, value) for value in (0, 255, 0)]
    results = list(make().stream(sources))
    assert all(a is b for a, (b, _) in zip(sources, results, strict=True))
    assert [bool(p.mask.any()) for _, p in results] == [False, True, False]


def test_a_stream_that_is_left_ends_its_threads():
    stream = make().stream(picture(2, 2) for _ in itertools.count())
    next(stream)
    assert any(t.name.startswith("segzoo-") for t in threading.enumerate())
    stream.close()
    assert not any(t.name.startswith("segzoo-") for t in threading.enumerate())


def test_a_predictor_can_be_pickled():
    again = pickle.loads(pickle.dumps(make(batch_size=3, classes=("a",))))
    assert (again.batch_size, again.classes) == (3, ("a",))
    image = half_bright(6, 5)
    np.testing.assert_array_equal(again.predict(image).mask, make().predict(image).mask)


# --- errors --------------------------------------------------------------------------------------


def test_a_broken_picture_costs_itself_alone(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("hello")
    sources = [picture(4, 4), broken, picture(4, 4), b"", picture(4, 4)]
    results = [result for _, result in make(batch_size=2).stream(sources)]
    assert [isinstance(r, Prediction) for r in results] == [True, False, True, False, True]
    assert isinstance(results[1], PictureError)
    assert str(results[1]).startswith(f"{broken}: not a picture")
    assert str(results[3]) == "the file is empty"
    with pytest.raises(PictureError, match="not a picture"):
        make().predict(sources)


@pytest.mark.parametrize("other", [None, 7, [1, 2], {}, io.BytesIO(b""), object()])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_b2_what_is_no_picture_is_an_error_at_its_place(other, place):
    sources = [picture(4, 4)] * 3
    sources.insert(place, other)
    predictor = make(batch_size=2)
    results = list(predictor.stream(sources))
    assert all(a is b for a, (b, _) in zip(sources, results, strict=True))
    assert [n for n, (_, r) in enumerate(results) if not isinstance(r, Prediction)] == [place]
    message = (
        f"this is not a picture; found {type(other).__name__}, "
        "expected a path, bytes, a PIL image or a numpy array"
    )
    assert isinstance(results[place][1], PictureError)
    assert str(results[place][1]) == message
    with pytest.raises(PictureError) as caught:
        predictor.predict(sources)
    assert str(caught.value) == f"item {place}: {message}"


def test_b2_none_alone():
    assert [type(r) for _, r in make().stream([None, None])] == [PictureError, PictureError]
    with pytest.raises(PictureError, match=r"^this is not a picture; found NoneType,"):
        make().predict(None)


def test_an_error_of_a_list_names_the_file_or_else_the_place(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("hello")
    with pytest.raises(PictureError, match=f"^{broken}: not a picture"):
        make().predict([picture(2, 2), broken])
    with pytest.raises(PictureError, match=r"^item 2: not a picture"):
        make().predict([picture(2, 2), picture(2, 2), b"hello"])
    with pytest.raises(PictureError, match=r"^not a picture"):
        make().predict(b"hello")


def test_a_picture_above_the_limit_is_refused():
    with pytest.raises(PictureTooLargeError, match="at most 20 pixels"):
        make(max_pixels=20).predict(Image.new("RGB", (7, 3)))


def wrong_shape(x, *, all_heads=False):
    return (x[:, :2],)


def wrong_side(x, *, all_heads=False):
    return (x[:, :1], x[:, :1, ::2])


def nothing(x, *, all_heads=False):
    return ()


@pytest.mark.parametrize(
    ("runtime", "found"),
    [(wrong_shape, "(2, 2, 4, 6)"), (wrong_side, "(2, 1, 2, 6)"), (nothing, "none")],
)
def test_logits_of_a_wrong_shape(runtime, found):
    with pytest.raises(PluginError) as caught:
        make(runtime).predict([picture(4, 6), picture(4, 6)], all_heads=True)
    assert str(caught.value) == (
        "item 0: the network's logits have a wrong shape for an input (2, 3, 4, 6); "
        f"found {found}, expected (2, 1, 4, 6). Run `segzoo check` on the model"
    )


def test_every_batch_is_checked_and_a_failure_concerns_its_pictures_alone(tmp_path):
    def runtime(x, *, all_heads=False):
        return bright(x) if x.shape[2] == 4 else (x,)

    odd = tmp_path / "odd.png"
    Image.fromarray(picture(5, 5)).save(odd)
    sources = [picture(4, 4), odd, picture(4, 4), picture(5, 5)]
    results = [result for _, result in make(runtime).stream(sources)]
    assert [isinstance(r, Prediction) for r in results] == [True, False, True, False]
    assert results[1].file == str(odd)
    assert results[3].file == ""
    assert results[1].problem == results[3].problem


def test_numbers_that_are_not_finite_are_the_pictures_own_error(tmp_path):
    def runtime(x, *, all_heads=False):
        logits = bright(x)[0]
        logits[x.max(axis=1, keepdims=True) == 0] = np.nan
        return (logits,)

    image = picture(2, 3)
    image[0, 0] = 0
    black = tmp_path / "black.png"
    Image.fromarray(image).save(black)
    good, bad, also_good = (
        result for _, result in make(runtime).stream([picture(2, 3), black, picture(2, 3)])
    )
    assert isinstance(good, Prediction)
    assert isinstance(also_good, Prediction)
    assert isinstance(bad, PluginError)
    assert str(bad) == (
        f"{black}: the network gave numbers that are not finite; "
        "found NaN or infinity in 1 of 6 logits"
    )


def test_a_batch_too_large_for_the_device_is_halved():
    shapes = []

    def runtime(x, *, all_heads=False):
        shapes.append(len(x))
        if len(x) > 2:
            raise MemoryError
        return bright(x)

    found = make(runtime, batch_size=8).predict([half_bright(4, 4)] * 8)
    assert [p.present for p in found] == [{"foreground": 8}] * 8
    assert shapes == [8, 4, 2, 2, 4, 2, 2]


def test_a_picture_too_large_for_the_device():
    def runtime(x, *, all_heads=False):
        if x.shape[3] > 9:
            raise MemoryError
        return bright(x)

    results = [r for _, r in make(runtime).stream([picture(4, 4), picture(4, 10)])]
    assert isinstance(results[0], Prediction)
    assert isinstance(results[1], PictureTooLargeError)
    assert str(results[1]) == ("memory ran out while the network ran. Make the picture smaller")


def test_what_concerns_every_picture_is_raised():
    stream = make(preprocess=Preprocess(mean=(0.5, 0.5))).stream([picture(2, 2)])
    with pytest.raises(ConfigError, match=r"preprocess\.mean does not fit"):
        next(stream)


@pytest.mark.parametrize("name", ["batch_size", "max_pixels", "tile"])
def test_settings_below_one(name):
    with pytest.raises(UsageError, match=f"^{name}=0 is below 1$"):
        make(**{name: 0})


# --- tiles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": (64, 0)}, "tile=(64, 0) is below 1"),
        ({"tile": 64, "overlap": -1}, "overlap=-1 is below 0"),
        ({"tile": 64.0}, "tile=64.0 is neither a number of pixels nor (H, W)"),
        ({"tile": (64,)}, "tile=(64,) is neither a number of pixels nor (H, W)"),
        ({"tile": "64"}, "tile='64' is neither a number of pixels nor (H, W)"),
        ({"tile": 64, "overlap": 64}, "overlap=64 is not below tile=64"),
        ({"tile": (64, 32), "overlap": 32}, "overlap=32 is not below tile=(64, 32)"),
        ({"overlap": 8}, "overlap=8 is of tiles, and none is given. Give tile (--tile) too"),
        (
            {"tile": 64, "preprocess": Preprocess(size=(320, 240), resize="stretch")},
            "tiles are for a network that takes pictures at their own size; found one that sees "
            "every picture at 320x240. Leave the tile (--tile) out",
        ),
    ],
)
def test_tiles_that_cannot_be(settings, message):
    with pytest.raises(UsageError) as caught:
        make(**settings)
    assert str(caught.value) == message


def test_a_picture_larger_than_a_tile_runs_in_windows_and_others_in_batches():
    runtime = Batches()
    sources = [half_bright(h, 50) for h in (40, 50, 90, 50, 20, 50)]
    found = make(runtime, batch_size=3, tile=(50, 60), overlap=10).predict(sources)
    for prediction, image in zip(found, sources, strict=True):
        np.testing.assert_array_equal(prediction.mask > 0, image[..., 0] > 127)
    sizes = sorted((n, h) for n, _, h, _ in runtime.shapes)
    assert sizes == [(1, 20), (1, 40), (1, 50), (1, 50), (3, 50)]  # of 90: two, sharing 10


def test_windows_of_one_size_run_together(monkeypatch):
    runtime = Batches()
    predictor = make(runtime, batch_size=3, tile=32, overlap=0)
    assert predictor.predict(half_bright(32, 32 * 7)).present == {"foreground": 16 * 32 * 7}
    assert [shape[0] for shape in runtime.shapes] == [3, 3, 1]
    runtime.shapes.clear()
    monkeypatch.setattr("segzoo.predict.windows.TOGETHER", 2 * 32 * 32)
    predictor.predict(half_bright(32, 32 * 7))
    assert [shape[0] for shape in runtime.shapes] == [2, 2, 2, 1]


def test_windows_too_many_for_the_device_are_halved():
    shapes = []

    def runtime(x, *, all_heads=False):
        shapes.append(len(x))
        if len(x) > 2:
            raise MemoryError
        return bright(x)

    found = make(runtime, tile=32, overlap=0).predict(half_bright(32, 32 * 8))
    assert found.present == {"foreground": 16 * 32 * 8}
    assert shapes == [8, 4, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("settings", "tile"),
    [({"tile": 600}, 300), ({"tile": (10, 100)}, 50)],
)
def test_memory_that_runs_out_in_a_large_picture_calls_for_tiles(settings, tile):
    def runtime(x, *, all_heads=False):
        raise MemoryError

    with pytest.raises(PictureTooLargeError) as caught:
        make(runtime, **settings).predict(picture(4, 700))
    assert str(caught.value) == (
        "memory ran out while the network ran. "
        f"Run it in smaller pieces: --tile {tile} (tile={tile})"
    )


def test_side_outputs_are_put_together_too():
    image = half_bright(100, 70)
    whole = make().predict(image, all_heads=True)
    tiled = make(tile=40).predict(image, all_heads=True)
    assert len(tiled.heads) == 1
    np.testing.assert_allclose(tiled.probability, whole.probability, atol=1e-6)
    np.testing.assert_allclose(tiled.heads[0].probability, whole.heads[0].probability, atol=1e-6)


def test_numbers_of_one_window_that_are_not_finite_are_the_pictures_error():
    def runtime(x, *, all_heads=False):
        logits = bright(x)[0]
        logits[x.max(axis=1, keepdims=True) == 0] = np.nan
        return (logits,)

    broken = picture(64, 64)
    broken[63, 63] = 0
    predictor = make(runtime, tile=32, overlap=0)
    results = [r for _, r in predictor.stream([picture(64, 64), broken, picture(4, 4)])]
    assert [isinstance(r, Prediction) for r in results] == [True, False, True]
    assert str(results[1]) == (
        "the network gave numbers that are not finite; found NaN or infinity in 1 of 1024 logits"
    )


def test_the_preprocess_sees_the_whole_picture():
    """Only what the network is given is cut, so every window is divided by the same value."""
    image = picture(80, 80, 50)
    image[0, 0] = 100
    relative = Preprocess(rescale="image_max")
    found = make(preprocess=relative, tile=32).predict(image)
    np.testing.assert_allclose(
        found.probability, make(preprocess=relative).predict(image).probability, atol=1e-6
    )


def test_a_predictor_with_tiles_can_be_pickled():
    predictor = make(tile=(32, 40), overlap=4)
    image = half_bright(70, 90)
    expected = predictor.predict(image).mask
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(predictor)).predict(image).mask, expected
    )


def test_a_network_that_cannot_be_measured_runs_large_pictures_whole():
    """Whether windows of it give what the whole gives is asked of small inputs."""

    def runtime(x, *, all_heads=False):
        if x.shape[2] < module.OWN_TILE:
            raise PluginError("this is too small for me")
        return bright(x[:, :, 1:-1, 1:-1])

    valid = make(runtime, preprocess=Preprocess(margin=1))
    assert valid.predict(picture(1100, 8)).present == {"foreground": 8800}
