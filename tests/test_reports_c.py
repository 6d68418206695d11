"""What people met: messages that were loud but wrong, each of which now leads to the right line."""

import importlib.util
import json
import sys
import warnings
from importlib import metadata

import numpy as np
import pytest
from PIL import Image

import segzoo
from segzoo.checks import doctor
from segzoo.cli import main
from segzoo.cli.main import run
from segzoo.data import views
from segzoo.engine import optim
from segzoo.errors import DependencyMissingError
from segzoo.zoo import refs

# --- C6: slips on the command line ----------------------------------------------------------------


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A folder with a photo, a run with a model, and two samples."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run" / "model" / "config.json").write_text(json.dumps({"model": "x"}))
    (tmp_path / "run" / "model" / "model.safetensors").write_bytes(b"")
    (tmp_path / "weights.pth").write_bytes(b"")
    (tmp_path / "loose.safetensors").write_bytes(b"")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("photo.png")
    masks = np.zeros((2, 8, 8), np.uint8)
    np.savez("two.npz", images=np.zeros((2, 8, 8, 3), np.uint8), masks=masks)
    return tmp_path


EXPECTED = "a file, where a model is expected"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "predict photo.png u2netp -o out",
            f"photo.png: {EXPECTED}. The model comes first: segzoo predict MODEL photo.png -o out",
        ),
        (
            "predict gone.png u2netp -o out",
            "u2netp: there is no such file or folder. The model comes first: "
            "segzoo predict u2netp PICTURE -o out",
        ),
        (
            "predict run/model/model.safetensors photo.png -o out",
            f"run/model/model.safetensors: {EXPECTED}. Give its folder: run/model",
        ),
        (
            "predict loose.safetensors photo.png -o out",
            f"loose.safetensors: {EXPECTED}. Give the model that it is of, and --weights "
            "loose.safetensors",
        ),
        (
            "predict weights.pth photo.png -o out",
            f"weights.pth: {EXPECTED}. Make a model of it first: "
            "segzoo convert weights.pth --to MODEL",
        ),
        (
            "predict gone.pth photo.png -o out",
            "gone.pth: there is no such file. A model comes first: its name, its folder, or "
            "hf-hub:user/name",
        ),
        (
            "eval weights.pth --data arrays:two.npz",
            f"weights.pth: {EXPECTED}. Make a model of it first: "
            "segzoo convert weights.pth --to MODEL",
        ),
        (
            "predict run photo.png -o out",
            "no model 'run'. There is a folder of that name; for the model in it write ./run",
        ),
        (
            "predict u2netp https://example.org/a.jpg -o out",
            "https://example.org/a.jpg: there is no such file or folder. Fetch it first: "
            "curl -LO https://example.org/a.jpg",
        ),
        (
            "predict u2netp https://example.org/a?b=1&c -o out",
            "https://example.org/a?b=1&c: no picture matches. Fetch it first: "
            "curl -LO 'https://example.org/a?b=1&c'",
        ),
        (
            "train unet --data d --epochs 5",
            "--epochs is no option: it is a field of the recipe. Write epochs=5",
        ),
        (
            "train unet --data d --batch-size=4",
            "--batch-size is no option: it is a field of the recipe. Write batch_size=4",
        ),
        (
            "data preview d --crop 64",
            "--crop is no option: it is a field of the recipe. Write crop=64",
        ),
        (
            "train unet --data arrays:two.npz --folds 3",
            "cannot part a set of 2 samples by 'fold=0/3'; expected at most 2 folds",
        ),
    ],
)
def test_c6_a_slip_is_answered_by_the_line_that_was_meant(capsys, folder, line, message):
    assert run(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == f"segzoo: {message}"
    assert shown.out == ""


def test_c6_a_run_stands_for_its_model(folder):
    for text in ("./run", str(folder / "run"), "local-dir:run"):
        assert refs.parse(text).path.resolve() == folder / "run" / "model"
    assert refs.parse("./run/model").path.resolve() == folder / "run" / "model"


def test_c6_a_file_named_like_weights_of_a_model_hides_nothing(folder):
    (folder / "u2netp.duts").write_bytes(b"")
    assert refs.parse("u2netp.duts") == refs.Named("u2netp", "duts")


# --- C7: without the train extra ------------------------------------------------------------------


def test_c7_without_accelerate_it_is_said_before_anything_is_built(capsys, folder, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "accelerate" else found(name)
    )
    assert run(["train", "no-such-model", "--data", "arrays:none.npz"]) == 2
    assert capsys.readouterr().err == (
        "segzoo: training needs accelerate. Run: pip install 'segzoo-core[train]'\n"
    )


@pytest.mark.parametrize(
    ("category", "where", "shown"),
    [
        (UserWarning, segzoo, "segzoo: no curves\\n.png\n"),
        (UserWarning, np, "UserWarning: no curves"),
        (DeprecationWarning, segzoo, "DeprecationWarning: no curves"),
    ],
)
def test_c7_a_warning_of_ours_is_a_sentence(capsys, category, where, shown):
    main.show_warning(category("no curves\n.png"), category, where.__file__, 7)
    said = capsys.readouterr().err
    assert said == shown if shown.endswith("\n") else shown in said


def test_c7_main_shows_warnings_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["segzoo", "--version"])
    with warnings.catch_warnings(), pytest.raises(SystemExit):
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        main.main()
        assert warnings.showwarning is main.show_warning


# --- C8: libraries that do not go together --------------------------------------------------------


class OfAnotherTorch:
    """An importer under which these modules fail as a torchvision of another torch does."""

    def __init__(self, *names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise RuntimeError("operator torchvision::nms does not exist")
        return None


@pytest.fixture
def mismatched(monkeypatch):
    names = [n for n in sys.modules if n.partition(".")[0] in ("torchvision", "timm")]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    importer = OfAnotherTorch("torchvision", "timm")
    monkeypatch.setattr(sys, "meta_path", [importer, *sys.meta_path])


@pytest.mark.parametrize("load", [views.torchvision, optim._timm_optim])
def test_c8_the_two_builds_are_named(mismatched, load):
    with pytest.raises(DependencyMissingError) as caught:
        load()
    text = str(caught.value)
    assert "cannot be imported: RuntimeError: operator torchvision::nms does not exist" in text
    assert f"torch {metadata.version('torch')}, " in text
    assert f"torchvision {metadata.version('torchvision')}" in text
    assert text.endswith("pip install --force-reinstall torch torchvision")


def test_c8_the_doctor_finds_it(mismatched):
    found = {finding.what.split()[0]: finding for finding in doctor._extras()}
    assert found.keys() == {"torchvision"}
    assert found["torchvision"].state == "broken"
    assert found["torchvision"].what.endswith(f"; torch is {metadata.version('torch')}")
    assert found["torchvision"].next_step == "Run: pip install --force-reinstall torch torchvision"


def test_c8_the_doctor_knows_everything_that_the_extras_name():
    named, needed = set(), set()
    for requirement in metadata.requires("segzoo-core"):
        name, _, extra = requirement.partition("; extra == ")
        if not extra:
            needed.add(name.partition(">=")[0])
        if extra.strip("'") in ("train", "convert", "data", "fast", "heic", "signing"):
            named.add(name.partition(">=")[0])
    # an extra may raise the floor of what is needed anyway, which is not optional
    assert named - needed == {*doctor.OPTIONAL, *doctor.UNTOUCHED}
