"""A data set whose samples stay in memory once they were read."""

from collections import Counter

import numpy as np
import pytest
import scenes
import torch

import segzoo
from segzoo.data.remembered import Remembered
from segzoo.data.sample import Info, Sample
from segzoo.engine.settings import Settings
from segzoo.runs.request import Method, TrainRequest, Wishes
from segzoo.runs.training import trained

SIZE = 4 * 5 * (3 + 1)  # bytes of a picture with its target


class Counted:
    """Pictures of their number, and how often each was read."""

    info = Info(classes=("ground", "thing"))
    files = ("a", "b", "c")

    def __init__(self) -> None:
        self.read = Counter[int]()

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        self.read[index] += 1
        image = np.full((4, 5, 3), index, np.uint8)
        return Sample(image=image, target=image[..., 0].copy(), id=f"picture {index}")

    def id_of(self, index: int) -> str:
        return f"picture {index}"


@pytest.mark.parametrize(
    ("most", "read"),
    [(3 * SIZE, {0: 1, 1: 1, 2: 1}), (2 * SIZE, {0: 1, 1: 1, 2: 4}), (0, {0: 4, 1: 4, 2: 4})],
)
def test_samples_are_read_once_as_far_as_there_is_room(most, read):
    dataset = Counted()
    both = Remembered(dataset, most)
    for _ in range(4):
        for index in range(3):
            assert (both[index]["image"] == index).all()
    assert dataset.read == read


def test_a_caller_may_change_its_sample():
    both = Remembered(Counted(), 3 * SIZE)
    for _ in range(2):
        sample = both[1]
        assert (sample["image"] == 1).all() and (sample["target"] == 1).all()
        sample["image"][:] = 7
        sample["target"][:] = 7


def test_it_is_the_same_set():
    both = Remembered(Counted(), SIZE)
    assert len(both) == 3 and both.id_of(2) == "picture 2" == both[2]["id"]
    assert both.info.classes == ("ground", "thing") and [*both.files] == ["a", "b", "c"]


def test_a_training_is_the_same_to_the_bit(tmp_path):
    scenes.stored(tmp_path / "data", scenes.mixed_cells, 6)
    changes = ["steps=4", "batch_size=3", "crop=32", "sampling=kinds", "augment=flip,color,invert"]
    states = []
    for most in (0, 1 << 20):
        run = tmp_path / f"{most}"
        trained(
            TrainRequest(
                model="unet",
                data=f"folder:{tmp_path}/data?values=0,255",
                run=run,
                method=Method("cells", changes),
                wishes=Wishes(task="binary", options={"width": 2}),
                settings=Settings(device="cpu", workers=0, threads=1, quiet=True, remember=most),
            )
        )
        states.append(segzoo.load(str(run / "model")).network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
