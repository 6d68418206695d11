"""What is kept after a training: what the pictures held out gain by, and all in the folder."""

import dataclasses

import numpy as np
import pytest
import scenes
import torch
from scipy import ndimage
from sklearn.metrics import jaccard_score
from torch import nn

import segzoo
from segzoo.automatic.kept import PIECES, Hints, Ious, kept_of
from segzoo.automatic.plan import Kept
from segzoo.automatic.soups import mean_of, soups_of
from segzoo.data.opened import Data
from segzoo.data.sample import Info
from segzoo.engine import checkpoint
from segzoo.errors import ConfigError
from segzoo.model.loaded import Model
from segzoo.spec import Postprocess

SIDE = 48
NO_HINTS = Hints(mirrors=False, area=0.0)


@pytest.fixture(autouse=True)
def stranger(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "stranger=tiny:STRANGER")


class Brightness(nn.Module):
    """The brighter a pixel is, the likelier; on the left side less, where it is lopsided."""

    def __init__(self, bias=0.0, lopsided=0.0):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(bias))
        self.lopsided = lopsided

    def forward(self, x):
        logits = (x.mean(1, keepdim=True) - 0.5) * 16 + self.bias
        slope = torch.linspace(-1, 1, x.shape[-1])
        return logits + self.lopsided * slope


def model_of(network, **post):
    """The network as the stranger's, as if it had been trained."""
    loaded = segzoo.load("stranger", seed=0)
    config = dataclasses.replace(loaded.config, postprocess=Postprocess(**post))
    return Model(network, spec=loaded.spec, config=config).eval()


def val_of(draw, count=10):
    return Data(scenes.Drawn(count, draw))


def gray(values):
    return np.repeat(np.uint8(np.clip(values, 0, 255))[..., None], 3, axis=2)


def dim(random):
    """Things that the network finds too dark."""
    target = scenes.discs(random, side=SIDE)
    return gray(np.where(target, 118, 60)), target


def clear(random):
    target = scenes.discs(random, side=SIDE)
    return gray(np.where(target, 220, 30)), target


def littered(random):
    """Things of a hundred pixels and more with holes of two, and bright specks of two between."""
    target = scenes.discs(random, side=SIDE, count=2, radius=9)
    image = np.where(target, 220, 30)
    inside = ndimage.binary_erosion(target, iterations=4)
    outside = ~ndimage.binary_dilation(target, iterations=4)
    for where, value in ((inside, 30), (outside, 220)):
        for row, column in random.permutation(np.argwhere(where))[:8]:
            image[row, column : column + 2] = value
    return gray(image), target


def tried(model, val, run, hints=NO_HINTS):
    found, kept = kept_of(model, val, run, hints, seconds=60)
    return found, {each.name: each for each in kept}


# --- each of it -----------------------------------------------------------------------------------


def test_a_threshold_is_kept_where_it_gains(tmp_path):
    found, kept = tried(model_of(Brightness()), val_of(dim), tmp_path)
    assert kept["threshold"].taken and kept["threshold"].after == 1.0
    assert kept["threshold"].before < 0.1
    assert found.postprocess.threshold == kept["threshold"].value < 0.4
    found, kept = tried(model_of(Brightness()), val_of(clear), tmp_path)
    assert not kept["threshold"].taken and found.postprocess == Postprocess()


def test_specks_and_holes_go_where_that_gains(tmp_path):
    hints = Hints(mirrors=False, area=200.0)
    found, kept = tried(model_of(Brightness()), val_of(littered), tmp_path, hints)
    assert kept["smallest"].taken and kept["holes"].taken
    assert kept["holes"].after > 0.99
    assert found.postprocess.smallest >= 3 and found.postprocess.holes >= 3
    assert max(found.postprocess.smallest, found.postprocess.holes) <= 0.25 * 200
    _, kept = tried(model_of(Brightness()), val_of(clear), tmp_path, hints)
    assert not kept["smallest"].taken and not kept["holes"].taken
    _, kept = tried(model_of(Brightness()), val_of(littered), tmp_path, Hints(False, 15.0))
    assert "smallest" not in kept and min(PIECES) > 0.25 * 15  # a speck may be a thing there


def test_what_was_tried_is_said_with_why_it_is_not_kept():
    flips = Kept(name="flips", value=True, before=0.94, after=0.95, taken=False, least=0.02)
    assert flips.said == "flips: IoU 0.9400 -> 0.9500, not kept: 0.02 is the least to gain"
    worse = Kept(name="holes", value=4, before=0.94, after=0.93, taken=False, least=0.002)
    assert worse.said == "holes 4: IoU 0.9400 -> 0.9300, not kept"
    better = Kept(name="threshold", value=0.55, before=0.9, after=0.95, taken=True, least=0.002)
    assert better.said == "threshold 0.55: IoU 0.9000 -> 0.9500, kept"


def test_the_mirrored_picture_is_looked_at_where_that_gains(tmp_path):
    hints = Hints(mirrors=True, area=0.0)
    found, kept = tried(model_of(Brightness(lopsided=9.0)), val_of(clear), tmp_path, hints)
    assert kept["flips"].taken and kept["flips"].after == 1.0
    assert found.postprocess.flips
    found, kept = tried(model_of(Brightness()), val_of(clear), tmp_path, hints)
    assert not kept["flips"].taken and not found.postprocess.flips
    _, kept = tried(model_of(Brightness(lopsided=9.0)), val_of(clear), tmp_path)
    assert "flips" not in kept  # which the network never saw


def saved(run, *biases):
    """A run's checkpoints of networks with these values, which have a moving average each."""
    run.mkdir(exist_ok=True)
    for step, bias in enumerate(biases, 1):
        folder = checkpoint.begin(run, step)
        for name, value in (("model", 99.0), ("average", bias)):
            checkpoint.write_tensors(folder, name, {"bias": torch.tensor(value)})
        checkpoint.publish(folder, about={})


def test_a_soup_is_kept_where_it_gains(tmp_path):
    saved(tmp_path / "good", 50.0, -6.0, 6.0)
    found, kept = kept_of(
        model_of(Brightness(bias=7.0)), val_of(clear), tmp_path / "good", NO_HINTS, seconds=60
    )
    assert [(each.name, each.value, each.taken) for each in kept[:2]] == [
        ("soup", 2, True),
        ("soup", 3, False),
    ]
    assert found.network.bias.item() == 0 and kept[0].after == 1.0 > kept[0].before
    saved(tmp_path / "bad", -9.0, 9.0)
    found, kept = tried(model_of(Brightness()), val_of(clear), tmp_path / "bad")
    assert not kept["soup"].taken and found.network.bias.item() == 0


def test_a_soup_is_the_mean_that_torch_makes():
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)) for _ in range(3)]
    for network in networks:
        network(torch.rand(2, 2, 8, 8))
    theirs = torch.optim.swa_utils.AveragedModel(networks[0], use_buffers=True)
    for network in networks:
        theirs.update_parameters(network)
    ours = mean_of([network.state_dict() for network in networks])
    for name, value in theirs.module.state_dict().items():
        torch.testing.assert_close(ours[name], value)


def test_one_checkpoint_is_no_soup(tmp_path):
    saved(tmp_path, 1.0)
    assert [*soups_of(tmp_path)] == [*soups_of(tmp_path / "nothing")] == []


# --- how it is counted ----------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 3])
def test_ious_are_those_of_another_library(classes):
    random = np.random.default_rng(0)
    ious, masks, targets = Ious(classes, 255), [], []
    for _ in range(3):
        mask, target = random.integers(0, max(2, classes), (2, 8, 9))
        target[0] = 255
        ious.add(0.5, torch.from_numpy(mask), torch.from_numpy(target))
        masks.append(mask[1:].ravel())
        targets.append(target[1:].ravel())
    both = np.concatenate(targets), np.concatenate(masks)
    average = "binary" if classes == 1 else "macro"
    assert ious[0.5] == pytest.approx(jaccard_score(*both, average=average))


def test_several_classes_have_no_threshold_and_no_specks(tmp_path):
    model = segzoo.load("stranger", num_classes=3, seed=0)
    val = Data(scenes.Drawn(4, clear, classes=("ground", "thing", "other")))
    _, kept = tried(model, val, tmp_path, Hints(mirrors=True, area=1000.0))
    assert [*kept] == ["flips"]


def test_no_more_pictures_are_looked_at_than_there_is_time_for(tmp_path):
    looked = []

    def slow(random):
        looked.append(1)
        return clear(random)

    kept_of(model_of(Brightness()), val_of(slow, 40), tmp_path, NO_HINTS, seconds=0)
    assert 8 <= len(looked) < 12


# --- in the folder --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures():
    return [littered(np.random.default_rng(number)) for number in range(3)]


def test_a_folder_says_it_and_every_verb_does_it(pictures, tmp_path, monkeypatch):
    post = {"threshold": 0.35, "smallest": 12, "holes": 9, "flips": True}
    torch.manual_seed(0)
    model = segzoo.load("stranger", seed=3)
    config = dataclasses.replace(model.config, postprocess=Postprocess(**post))
    Model(model.network, spec=model.spec, config=config).save_pretrained(tmp_path / "m")
    again = segzoo.load(str(tmp_path / "m"))
    assert again.postprocess == Postprocess(**post)

    def ours(image):
        """Of the network alone, as the fields say it."""
        x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            logits = (model.network(x) + model.network(x.flip(-1)).flip(-1)) / 2
        above = (logits[0, 0].sigmoid() > 0.35).numpy()
        pieces, _ = ndimage.label(above)
        areas = np.bincount(pieces.ravel())
        areas[0] = 0
        above = (areas >= 12)[pieces]
        gaps, _ = ndimage.label(~above)
        edge = np.unique([*gaps[0], *gaps[-1], *gaps[:, 0], *gaps[:, -1]])
        small = np.bincount(gaps.ravel()) < 9
        small[[0, *edge]] = False
        return above | small[gaps]

    for image, _ in pictures:
        assert np.array_equal(again.predict(image).mask > 0, ours(image))
        tiled = again.predict(image, tile=32, overlap=8).mask
        assert tiled.shape == image.shape[:2]
    wanted = [(ours(image), target > 0) for image, target in pictures]
    iou = sum((m & t).sum() for m, t in wanted) / sum((m | t).sum() for m, t in wanted)
    data = scenes.Drawn(3, littered)
    found = segzoo.evaluate(again, data, workers=0, bootstrap=0)
    assert found.values["iou"] == pytest.approx(iou)
    assert found.protocol["postprocess"]["flips"] is True
    assert found.protocol["postprocess"]["smallest"] == 12


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("smallest", -1, "smallest=-1 is below 0"),
        ("holes", 2**24 + 1, "holes=16777217 is above 16777216"),
        ("smallest", 2.5, "smallest"),
        ("flips", 1, "flips"),
    ],
)
def test_a_strangers_folder_is_bounded(field, value, message, tmp_path):
    import json

    folder = model_of(Brightness()).save_pretrained(tmp_path / "m")
    (folder / "manifest.json").unlink()
    record = json.loads((folder / "config.json").read_text())
    record["postprocess"][field] = value
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=message):
        segzoo.load(str(folder))


def test_pieces_are_of_one_class(tmp_path):
    config = segzoo.load("stranger", num_classes=3, seed=0).config
    with pytest.raises(ValueError, match="smallest and holes are for one class"):
        dataclasses.replace(config, postprocess=Postprocess(smallest=3))


def test_a_graph_is_refused_what_it_cannot_do(tmp_path):
    from segzoo.export.after import refuse_what_has_no_nodes

    for name, value in (("smallest", 3), ("holes", 3), ("flips", True)):
        with pytest.raises(ConfigError, match=f"postprocess.{name} is done by segzoo"):
            refuse_what_has_no_nodes(Postprocess(**{name: value}), 1)


def test_the_data_that_is_held_out_may_ignore_pixels(tmp_path):
    class Ignoring(scenes.Drawn):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            sample["target"][:, ::2] = 255
            return sample

    val = Data(Ignoring(8, dim, ignore_index=255))
    assert val.info == Info(classes=("ground", "thing"), ignore_index=255)
    _, kept = tried(model_of(Brightness()), val, tmp_path)
    assert kept["threshold"].after == 1.0
