"""Everything that a card says of published weights, gathered before a word of it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segzoo.saved.config import Config
from segzoo.spec import Metric, Paper
from segzoo.zoo.refs import Hub

__all__ = ["EXAMPLE", "EXAMPLE_MASK", "PREVIEW", "Benchmark", "Facts"]

PREVIEW = "preview.jpg"  # a picture with its mask beside it
EXAMPLE, EXAMPLE_MASK = "examples/1.jpg", "examples/1-mask.png"


@dataclass(frozen=True)
class Benchmark:
    """A task of a data set that the Hub has registered as a benchmark.

    dataset: "user/name"; task: its id there; revision: the commit that was looked at.
    """

    dataset: str
    task: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that a card says.

    config: with license, trained_on and files. repo: "user/name"; tag: of this publication, or
    empty. metrics, intervals: what was measured, and 95 in 100 bootstrap samples by the metric's
    name. measure, train: the commands that do it again, or empty. lasted: how far the training
    went, in a sentence. recipe: its fields and values.
    begun_with: the weights that the training began with, as `segzoo.load` takes them; base_model:
    their repository on the Hub; begun_at: the address that they are fetched from. Empty where there
    are none. taught_by: the model that it learned from too, and the licence of its weights.
    pictures: which of the pictures that a card may show there are, by their names in the folder.
    example_title, example_terms: what the example shows, and its licence in a sentence.
    benchmark: what the first of the metrics is for, where the Hub has registered it.
    """

    config: Config
    summary: str
    num_parameters: int
    repo: str
    tag: str = ""
    paper: Paper | None = None
    metrics: tuple[Metric, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    measure: str = ""
    train: str = ""
    lasted: str = ""
    recipe: Sequence[tuple[str, str]] = ()
    begun_with: str = ""
    base_model: str = ""
    begun_at: str = ""
    taught_by: tuple[str, str] | None = None
    source: str = ""
    notes: str = ""
    pictures: frozenset[str] = frozenset()
    example_title: str = ""
    example_terms: str = ""
    benchmark: Benchmark | None = None

    @property
    def reference(self) -> str:
        """What `segzoo.load` takes."""
        return str(Hub(self.repo, self.tag or None))
