"""What numbers were called before, and what of it a reader of old records sees."""

import pytest
import torch

from segzoo.errors import RunError
from segzoo.metrics.measure import added
from segzoo.metrics.overlapping import Overlapping
from segzoo.metrics.saliency import Saliency
from segzoo.metrics.semantic import Semantic
from segzoo.metrics.versions import (
    FIRST,
    VERSION,
    as_in,
    difference,
    name_now,
    named_now,
    version_in,
)


def sums(measure, count=3):
    """Of soft squares that are found at other thresholds."""
    target = torch.zeros(12, 12).long()
    target[3:9, 4:9] = 1
    noise = torch.rand(count, 12, 12, generator=torch.Generator().manual_seed(1))
    maps = [((target + noise[n]) / 2) ** (1 + n) for n in range(count)]
    return added(measure.sums(m[None], (m > 0.5).long(), target) for m in maps)


def test_e1_the_first_version_called_the_maximum_of_the_mean_max_f():
    now = Saliency().result(sums(Saliency()))
    then = as_in(FIRST, Saliency()).result(sums(Saliency()))
    assert list(then) == [name for name in now if name != "max_f_of_mean"]
    assert then["max_f"] == now["max_f_of_mean"] != now["max_f"]
    assert {**then, "max_f": 0} == {k: v for k, v in now.items() if k in then} | {"max_f": 0}
    assert named_now(then, FIRST) == {k: v for k, v in now.items() if k != "max_f"}


def test_todays_version_and_other_measures_stay_as_they_are():
    measure = Saliency()
    assert as_in(VERSION, measure) is measure
    semantic = Semantic(num_classes=1)
    assert as_in(FIRST, semantic).result(sums(semantic)) == semantic.result(sums(semantic))
    assert as_in(FIRST, measure).lower_is_better == measure.lower_is_better
    assert as_in(FIRST, semantic).total_only == semantic.total_only
    assert named_now({"max_f": 1.0}, VERSION) == {"max_f": 1.0}


def test_a_measure_of_somebody_elses_keeps_its_max_f():
    class Own:
        lower_is_better = frozenset()

        def sums(self, probabilities, mask, target):
            return {"max_f": probabilities.max()}

        def result(self, sums):
            return {"max_f": float(sums["max_f"])}

    assert as_in(FIRST, Own()).result({"max_f": torch.tensor(0.5)}) == {"max_f": 0.5}


def test_names_of_classes_that_overlap_and_of_measures_that_clash():
    both = Overlapping(as_in(FIRST, Saliency()), 1)
    target = torch.zeros(1, 8, 8).long()
    target[0, 2:5, 2:5] = 1
    found = both.result(both.sums(target.float(), target, target))
    assert {"max_f", "mean_max_f"} <= found.keys()
    names = {"max_f": "max_f_of_mean", "mean_max_f": "mean_max_f_of_mean", "mean_f": "mean_f"}
    names |= {"saliency.max_f": "saliency.max_f_of_mean", "max_e": "max_e", "loss": "loss"}
    assert {name: name_now(name, FIRST) for name in names} == names


def test_what_says_no_version_is_of_the_first():
    assert version_in({}, file="run.json", error=RunError) == FIRST
    assert version_in({"metrics_version": VERSION}, file="run.json", error=RunError) == VERSION
    assert difference(FIRST) == "max_f is what is now max_f_of_mean"
    assert difference(VERSION) == ""


@pytest.mark.parametrize("version", [0, VERSION + 1, "2", None, True, 2.0])
def test_a_version_that_is_not_known_is_refused(version):
    with pytest.raises(RunError) as error:
        version_in({"metrics_version": version}, file="run.json", error=RunError)
    assert str(error.value) == (
        "run.json: its numbers are of another version of the metrics than this segzoo has; found "
        f"metrics_version {version!r}, expected {FIRST} to {VERSION}. Use the segzoo-core that "
        "wrote it, or a later one"
    )
