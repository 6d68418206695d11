"""segzoo cutout and segzoo.cutout: which weights are taken, and what becomes of photos."""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import bright
import fake_plugins
import numpy as np
import pytest
from PIL import Image, ImageCms

import segzoo
from segzoo.cli.jobs import Layout
from segzoo.cli.main import run
from segzoo.cli.writing import ready
from segzoo.errors import UsageError, WeightsMissingError
from segzoo.model import choice
from segzoo.pictures import codec
from segzoo.runs import cutout as python
from segzoo.spec import Dataset, Metric, Postprocess, Preprocess, Weights
from segzoo.zoo import registry

ECSSD, DUTS = "850 of ECSSD", "200 of DUTS-TE"
DATA = Dataset(name="some photos", license="not stated")


def max_f(value, split=ECSSD, protocol="of 8 bits"):
    return Metric(name="max F-beta", value=value, split=split, protocol=protocol)


def mae(value, split=ECSSD):
    return Metric(name="MAE", value=value, split=split, protocol="of 8 bits")


class Shelf:
    """A package of models that find what is bright, each with weights `a`; nothing else is there.

    A model's fields and its record's are given by their names.
    """

    def __init__(self, monkeypatch, folder):
        self.monkeypatch, self.models = monkeypatch, []
        package = folder / "shelf"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        fake_plugins.install(monkeypatch, folder)
        plugins = {entry.distribution for entry in registry.entries() if entry.distribution}
        monkeypatch.setenv("SEGZOO_DISABLE", ",".join(plugins))
        saved = segzoo.load(bright.BRIGHT).save_pretrained(package / "saved")
        self.file = saved / "model.safetensors"
        self.package = importlib.import_module("shelf")

    def add(self, name, *metrics, macs=None, requires=None, size=None, **fields):
        record = Weights(
            **{
                "bundled": "shelf:saved/model.safetensors",
                "sha256": hashlib.sha256(self.file.read_bytes()).hexdigest(),
                "trained_on": (DATA,),
                "license": "Apache-2.0",
                "metrics": metrics,
            }
            | fields
        )
        if size:
            resized = Preprocess(size=(size, size), resize="stretch")
            record = dataclasses.replace(record, preprocess=resized)
        spec = dataclasses.replace(
            bright.BRIGHT,
            tasks={"saliency": bright.SIGMOID},
            weights={"a": record},
            default_weights="a",
            macs=macs,
            requires=requires or {},
        )
        if size:
            normal = Preprocess(size=(320, 320), resize="stretch")
            spec = dataclasses.replace(spec, preprocess=normal)
        setattr(self.package, name.upper(), spec)
        self.models.append(f"{name}=shelf:{name.upper()}")
        self.monkeypatch.setenv("SEGZOO_MODELS", ",".join(self.models))


@pytest.fixture
def shelf(monkeypatch, tmp_path):
    """An empty shelf, in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    python._best.cache_clear()
    yield Shelf(monkeypatch, tmp_path / "site")
    python._best.cache_clear()


# --- which weights ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "chosen", "why"),
    [
        ([("one", max_f(0.8))], "one", "the only ones here that state it"),
        ([("one", max_f(0.8)), ("two", max_f(0.9))], "two", "the best of 2 here"),
        ([("one", mae(0.08)), ("two", mae(0.04))], "two", "MAE 0.040 on 850 of ECSSD, the best"),
        # A number counts on the pictures that most of them state.
        (
            [("one", max_f(0.8)), ("two", max_f(0.9)), ("three", max_f(0.99, DUTS))],
            "two",
            "max F-beta 0.900 on 850 of ECSSD, the best of 2",
        ),
        (
            [("one", max_f(0.99, protocol="other")), ("two", max_f(0.8)), ("three", max_f(0.7))],
            "two",
            "the best of 2",
        ),
        (
            [("one", mae(0.05)), ("two", max_f(0.7), mae(0.06)), ("three", mae(0.2))],
            "one",
            "MAE 0.050",
        ),
        # Several sets that the same of them state count alike.
        (
            [
                ("one", max_f(0.93), max_f(0.85, DUTS)),
                ("two", max_f(0.92), max_f(0.87, DUTS)),
                ("three", mae(0.01)),
            ],
            "two",
            "mean max F-beta 0.895 on 850 of ECSSD and 200 of DUTS-TE, the best of 2",
        ),
        # The measure before the error, and what `segzoo eval` calls it is the same.
        (
            [("one", max_f(0.8), mae(0.01)), ("two", max_f(0.9), mae(0.2))],
            "two",
            "max F-beta 0.900",
        ),
        (
            [("one", max_f(0.8)), ("two", dataclasses.replace(max_f(0.9), name="max_f"))],
            "two",
            "the best of 2",
        ),
    ],
)
def test_the_best_number_on_the_same_pictures(shelf, models, chosen, why):
    for name, *metrics in models:
        shelf.add(name, *metrics)
    found = choice.best()
    assert found.ref == f"{chosen}.a"
    assert why in found.why
    assert found.why.endswith("; licence Apache-2.0, of the data: some photos (not stated)")


def test_among_numbers_that_are_alike_the_least_work(shelf):
    shelf.add("heavy", max_f(0.934), macs=20_000)
    shelf.add("silent", max_f(0.934))
    shelf.add("light", max_f(0.930), macs=1000)
    found = choice.best()
    assert (
        found.ref == "light.a" and "within 0.005 of the best of 3 here, for less work" in found.why
    )
    shelf.add("handy", max_f(0.931), macs=2000)
    assert choice.best().ref == "handy.a"
    shelf.add("better", max_f(0.95), macs=10**12)
    assert choice.best().ref == "better.a"


def test_work_is_that_of_the_size_that_the_weights_see(shelf):
    shelf.add("large", max_f(0.9), macs=1000, size=320)
    shelf.add("small", max_f(0.9), macs=1001, size=160)
    assert choice.best().ref == "small.a"


@pytest.mark.parametrize(
    ("fields", "obstacle"),
    [
        ({"license": "CC-BY-NC-4.0"}, "their licence is CC-BY-NC-4.0"),
        ({"license": "not stated"}, "their licence is not stated"),
        ({"requires": {"no_such_library": "no-such-library>=2"}}, "needs no-such-library>=2"),
        (
            {"bundled": None, "repo": "a/b", "revision": "0" * 40, "file": "m.safetensors"},
            "not on this machine",
        ),
        ({"bundled": "shelf:gone.safetensors"}, "not on this machine"),
    ],
)
def test_better_weights_that_are_not_taken_unasked(shelf, fields, obstacle):
    shelf.add("better", max_f(0.99), **fields)
    with pytest.raises(WeightsMissingError) as caught:
        choice.best()
    assert f"better.a: {obstacle}" in str(caught.value)
    assert "pip install 'segzoo-core[all]'" in str(caught.value)
    shelf.add("good", max_f(0.8))
    assert choice.best().ref == "good.a"


@pytest.mark.parametrize(
    "fields",
    [
        {"retired": "it was wrong"},
        {"task": "binary"},
        {"num_classes": 2},
        {"in_channels": 4},
        {"metrics": (Metric(name="Dice", value=1, split="vessels", protocol=""),)},
    ],
)
def test_weights_that_are_not_about_it(shelf, fields):
    shelf.add("other", max_f(0.99), **fields)
    with pytest.raises(WeightsMissingError, match="no weights for cut-outs"):
        choice.best()


def ours():
    """Weights of this repository's plugins that may be taken, with what they state."""
    for row in registry.rows():
        if row.entry.distribution.startswith("segzoo-") and row.spec is not None:
            for tag, record in row.spec.weights.items():
                if choice._is_about_it(row.spec, record):
                    yield f"{row.entry.name}.{tag}", choice._stated(record)


def test_our_weights_can_be_compared():
    """They state a measure on the same pictures by the same protocol, all three to the letter."""
    stated = dict(ours())
    assert stated
    assert set.intersection(*map(set, stated.values())), stated


def test_better_weights_of_another_plugin_are_taken(monkeypatch, tmp_path):
    """Beside ours, by the numbers alone."""
    stated = dict(ours())
    shared = set.intersection(*map(set, stated.values()))
    yardstick = next(y for y in shared if y.measure == 0 and "ECSSD" in y.split)
    best = max(found[yardstick] for found in stated.values())
    disabled = os.environ.get("SEGZOO_DISABLE", "")
    shelf = Shelf(monkeypatch, tmp_path)
    monkeypatch.setenv("SEGZOO_DISABLE", disabled)
    split, protocol = yardstick.split, yardstick.protocol
    shelf.add("newer", max_f(best + 0.01, split, protocol), mae(0.0, split))
    assert choice.best().ref == "newer.a"


def test_choosing_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None\n"
    code += "from segzoo.model import choice; print(choice.best().ref)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in dict(ours())


def test_from_the_picture_to_the_file_without_torch(tmp_path):
    """With a runtime that needs none."""
    code = f"""
import sys; sys.modules["torch"] = None
import numpy as np
from segzoo.predict import outputs
from segzoo.predict.predictor import Predictor
from segzoo.spec import Postprocess, Preprocess

def runtime(x, *, all_heads=False):
    return (20 * (x.mean(1, keepdims=True) - 0.5),)

predictor = Predictor(runtime, preprocess=Preprocess(), postprocess=Postprocess(),
                      in_channels=3, num_classes=1)
image = np.full((40, 30, 3), 30, np.uint8); image[10:30, 8:20] = 220
output = outputs.render("cutout", predictor.predict(image), edges="clean")
open({str(tmp_path / "out.png")!r}, "wb").write(outputs.encode(output))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    alpha = np.asarray(opened(tmp_path / "out.png"))[..., 3]
    assert alpha[15, 12] == 255 and alpha[2, 2] == 0


# --- the command -----------------------------------------------------------------------------


def half_bright(height=20, width=16):
    image = np.full((height, width, 3), 20, np.uint8)
    image[: height // 2] = (220, 230, 240)
    return image


def save(path, image=None, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(half_bright() if image is None else image).save(path, **options)
    return path


@pytest.fixture
def cut(shelf, capfdbinary):
    """Runs `segzoo cutout ...` where there is one model; gives stdout and the lines of stderr."""
    shelf.add("lamp", max_f(0.8))

    def call(*arguments, code=0):
        returned = run(["cutout", *arguments])
        captured = capfdbinary.readouterr()
        assert returned == code, captured.err
        return captured.out, captured.err.decode().splitlines()

    return call


TAKEN = (
    "segzoo: lamp.a: max F-beta 0.800 on 850 of ECSSD, the only ones here that state it; "
    "licence Apache-2.0, of the data: some photos (not stated)"
)


def opened(path):
    with Image.open(path) as image:
        image.load()
    return image


def alpha_of(path):
    image = opened(path)
    assert image.mode == "RGBA"
    return np.asarray(image)[..., 3]


def test_beside_the_photo(cut):
    save("photos/lamp.png")
    out, said = cut("photos/lamp.png")
    assert (out, said) == (b"", [TAKEN, "segzoo: 1 picture -> photos/lamp-cutout.png"])
    assert sorted(os.listdir("photos")) == ["lamp-cutout.png", "lamp.png"] and os.listdir() == [
        "photos"
    ]
    alpha = alpha_of("photos/lamp-cutout.png")
    assert alpha[:9].min() == 255 and alpha[11:].max() == 0


def test_what_is_there_stays(cut):
    save("lamp.png")
    Path("lamp-cutout.png").write_text("mine")
    _, (said,) = cut("lamp.png", code=2)
    assert "already there: 1 output: lamp-cutout.png" in said and "--overwrite" in said
    assert Path("lamp-cutout.png").read_text() == "mine"
    cut("lamp.png", "--skip-existing")
    assert Path("lamp-cutout.png").read_text() == "mine"
    cut("lamp.png", "--overwrite")
    assert alpha_of("lamp-cutout.png").max() == 255


def test_a_folder_twice(cut):
    """What the first time made is no photo the second time."""
    save("photos/a.png"), save("photos/deep/b.png"), save("photos/c-cutout.png")
    cut("photos", "-r")
    made = ["a-cutout.png", "a.png", "c-cutout-cutout.png", "c-cutout.png", "deep"]
    assert sorted(os.listdir("photos")) == made
    assert sorted(os.listdir("photos/deep")) == ["b-cutout.png", "b.png"]
    _, said = cut("photos", "-r", "--overwrite", "--json")
    assert sorted(os.listdir("photos")) == made
    _, said = cut("photos", "-r", "--overwrite")
    assert said[-1] == "segzoo: 3 pictures -> NAME-cutout.png beside each"


def test_two_photos_of_one_name(cut):
    save("a.png"), save("a.jpg")
    _, (said,) = cut("a.png", "a.jpg", code=2)
    assert "a.png and a.jpg -> a-cutout.png" in said or "a.jpg and a.png" in said


def test_one_that_cannot_be_read_costs_itself_alone(cut):
    save("a.png")
    Path("b.png").write_text("no picture")
    _, said = cut("a.png", "b.png", code=1)
    assert any("b.png" in line for line in said)
    assert said[-1] == "segzoo: 1 of 2 pictures failed; see above"
    assert sorted(os.listdir()) == ["a-cutout.png", "a.png", "b.png"]


def test_into_a_folder_and_into_a_file(cut):
    save("a.png"), save("b.png")
    cut("a.png", "b.png", "-o", "out")
    assert sorted(os.listdir("out")) == ["a.png", "b.png"]
    cut("a.png", "-o", "mine.png")
    assert alpha_of("mine.png").max() == 255


def test_from_standard_input_to_standard_output(cut, monkeypatch):
    save("a.png")
    stream = io.TextIOWrapper(io.BytesIO(Path("a.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    out, said = cut("-")
    assert alpha_of(io.BytesIO(out)).max() == 255 and said == [TAKEN]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _, (refused,) = cut("-", code=2)
    assert "-o FILE.png" in refused


def test_background_crop_and_edges(cut):
    save("a.png")
    cut("a.png", "--background", "#ff0000", "--crop", "-q")
    image = opened("a-cutout.png")
    assert (image.mode, image.size) == ("RGB", (16, 10))
    cut("a.png", "--edges", "raw", "-o", "raw.png", "-q")
    shown = np.asarray(opened("raw.png"))
    assert np.array_equal(shown[:10, :, :3], half_bright()[:10])


def test_json(cut):
    save("a.png")
    out, _ = cut("a.png", "--json")
    told = json.loads(out)
    assert told["model"] == "lamp.a" and f"segzoo: lamp.a: {told['why']}" == TAKEN
    assert told["written"] == 1 and told["pictures"][0]["outputs"] == {"cutout": "a-cutout.png"}


def test_another_model(cut, shelf):
    shelf.add("dim", max_f(0.2), license="CC-BY-NC-4.0")
    save("a.png")
    _, said = cut("a.png", "--model", "dim.a")
    assert said[0] == (
        "segzoo: dim.a: asked for; licence CC-BY-NC-4.0, of the data: some photos (not stated)"
    )


def test_a_model_where_a_photo_belongs(cut):
    save("a.png")
    for text in ("lamp", "lamp.a"):
        _, (said,) = cut(text, "a.png", code=2)
        assert f"segzoo cutout --model {text} PHOTO" in said


def test_no_weights(shelf, capsys):
    save("a.png")
    assert run(["cutout", "a.png"]) == 2
    assert "pip install 'segzoo-core[all]'" in capsys.readouterr().err
    assert os.listdir() == ["a.png"]


def test_help_shows_it_first(capsys):
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("Commands:") + 1].split()[0] == "cutout"


# --- in Python -------------------------------------------------------------------------------


def test_a_picture_of_any_kind(shelf):
    shelf.add("lamp", max_f(0.8))
    array = half_bright()
    save("a.png", array)
    for source in ("a.png", Path("a.png"), Path("a.png").read_bytes(), opened("a.png"), array):
        image = segzoo.cutout(source)
        assert (image.mode, image.size, image.info["segzoo"]) == ("RGBA", (16, 20), "lamp.a")
    assert segzoo.cutout(array, crop=True).size == (16, 10)
    assert segzoo.cutout(array, background="white").mode == "RGB"
    assert segzoo.cutout(array, background=(1, 2, 3)).getpixel((0, 19)) == (1, 2, 3)
    loaded = segzoo.load("lamp.a")
    assert segzoo.cutout(array, model=loaded) == segzoo.cutout(array, model="lamp")
    with pytest.raises(UsageError, match="'clean' or 'raw'"):
        segzoo.cutout(array, edges="soft")


def test_alpha_that_is_there_is_multiplied(shelf):
    shelf.add("lamp", max_f(0.8))
    given = np.full((20, 16), 255, np.uint8)
    given[:9, :8] = 100
    image = segzoo.cutout(np.dstack([half_bright(), given]))
    alpha = np.asarray(image)[..., 3]
    assert set(alpha[:9, :8].flat) == {100} and set(alpha[:9, 8:].flat) == {255}
    assert alpha[11:].max() == 0


@pytest.mark.parametrize("shade", [0, 127, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_pictures_without_an_edge(shelf, shade, size):
    """All background, all soft, all subject; one pixel wide."""
    shelf.add("lamp", max_f(0.8))
    image = segzoo.cutout(np.full((*size, 3), shade, np.uint8))
    assert image.size == size[::-1]
    alpha = np.asarray(image)[..., 3]
    assert alpha.min() == alpha.max() and (alpha[0, 0] > 100) == (shade > 100)


def test_exif_and_profile_are_kept(shelf):
    """Upright, with what was said of the photo and without what is about its file."""
    shelf.add("lamp", max_f(0.8))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    exif.get_ifd(0x8769).update({0x9003: "2020:01:02 03:04:05", 0xA002: 16, 0x927C: b"\x01" * 9})
    save("a.jpg", exif=exif, icc_profile=profile, dpi=(72, 144), quality=95)
    assert run(["cutout", "a.jpg", "-q"]) == 0
    image = opened("a-cutout.png")
    kept = image.getexif()
    assert image.size == (20, 16) and image.info["icc_profile"] == profile
    assert image.info["dpi"] == pytest.approx((144, 72), abs=0.1)
    assert kept[0x010F] == "Camera" and 0x0112 not in kept
    assert dict(kept.get_ifd(0x8769)) == {0x9003: "2020:01:02 03:04:05"}
    result = segzoo.cutout("a.jpg")
    assert result.info["exif"] == codec.read("a.jpg").exif and result.info["icc_profile"] == profile
    given = opened("a.jpg")
    segzoo.cutout(given)
    assert given.getexif()[0x0112] == 6  # the caller's own is as it was


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"nonsense"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_costs_nothing(shelf, exif):
    shelf.add("lamp", max_f(0.8))
    save("a.jpg", exif=exif)
    assert run(["cutout", "a.jpg", "-q"]) == 0
    assert opened("a-cutout.png").mode == "RGBA"


def test_large_exif_is_dropped_and_said():
    exif = Image.Exif()
    exif[0x010E] = "x" * (70 << 10)
    content = io.BytesIO()
    Image.fromarray(half_bright()).save(content, "PNG", exif=exif)
    found = codec.read(content.getvalue())
    assert found.exif is None and any("larger than 64 KiB" in note for note in found.notes)


def test_normalised_maps_too(shelf):
    """A network whose maps are stretched finds nothing to be cut in a black picture."""
    shelf.add("lamp", max_f(0.8), postprocess=Postprocess(normalize="minmax"))
    assert np.asarray(segzoo.cutout(half_bright()))[..., 3].max() == 255


@pytest.mark.parametrize("out", ["out/cat.png", "out"])
def test_for_one_file_the_folders_beside_it_are_not_looked_through(out, tmp_path):
    names = (".segzoo-0123.tmp", "deeper/.segzoo-0123.tmp")
    for name in names:
        left = tmp_path / "out" / name
        left.parent.mkdir(exist_ok=True)
        left.touch()
        os.utime(left, (0, 0))
    is_file = out.endswith(".png")
    layout = Layout(str(tmp_path / out), ("cutout",), is_file=is_file)
    with ready(layout):
        assert [(tmp_path / "out" / name).exists() for name in names] == [False, is_file]
