"""A model that teaches another in a run: which one it is, and whether it can teach this student."""

from typing import NamedTuple

from segzoo.base.counts import count_of
from segzoo.base.records import Json, asdict
from segzoo.data.sample import Info
from segzoo.engine.evaluate import Task
from segzoo.engine.teacher import Teacher
from segzoo.errors import UsageError, printable
from segzoo.model.load import load
from segzoo.model.loaded import Model
from segzoo.predict.artefacts.export import values_of
from segzoo.runs.subject import Subject, origin_of
from segzoo.spec import Dataset, Postprocess, Recipe

__all__ = ["SHARE", "Taught", "taught_by"]

SHARE = 0.5  # of the loss, where the recipe says none


class Taught(NamedTuple):
    """A student's teacher. about: which one, as JSON: what `segzoo.load` takes, the hash of its
    values, its licence. trained_on: its data, which the student learns from too."""

    teacher: Teacher
    about: dict[str, Json]
    trained_on: tuple[Dataset, ...]

    def described(self, recipe: Recipe) -> str:
        """For a person."""
        share = SHARE if recipe.distil is None else recipe.distil
        size = sum(p.numel() for p in self.teacher.network.parameters())
        license = self.about["license"] or "not stated"
        return (
            f"{self.about['model'] or 'a model in hand'}: {size:,} parameters, {share:.0%} of the "
            f"loss; its licence: {license}"
        )


def taught_by(given: str | Model, subject: Subject, info: Info) -> Taught:
    """The teacher of a subject: a model by its reference, with weights, or one in hand.

    info: of the data. UsageError for one that cannot teach it, with the reason.
    """
    if isinstance(given, Model):
        model, name = given, ""
    else:
        model, name = load(given, pretrained=True), origin_of(given, True)[2] or given
    weights, config = model.weights, model.config
    _refuse_misfits(model, name, subject, info)
    model.network.eval().requires_grad_(False)
    license = weights.license if weights is not None else config.license
    trained_on = weights.trained_on if weights is not None else config.trained_on
    precision = "bf16" if subject.recipe.precision == "bf16" else "fp32"
    task = Task(
        preprocess=model.preprocess,
        postprocess=_plain(model.postprocess),
        in_channels=model.in_channels,
        num_classes=model.num_classes,
    )
    about = {
        "model": name,
        "values": values_of(model.network),
        "license": license,
        "trained_on": [asdict(each) for each in trained_on],
    }
    teacher = Teacher(model.network, task, subject.about.num_classes, precision)
    return Taught(teacher, about, trained_on)


def _plain(post: Postprocess) -> Postprocess:
    """What the network itself says: not stretched over the map, nor in steps of 8 bits."""
    return Postprocess(activation=post.activation, threshold=post.threshold, scale=post.scale)


def _refuse_misfits(model: Model, name: str, subject: Subject, info: Info) -> None:
    """UsageError for a teacher of other classes, other answers or other pictures."""
    about, shown = subject.about, printable(name or model.config.model)
    has, wants = model.num_classes, about.num_classes
    softmax = model.postprocess.activation == "softmax"
    one_of_two = (has, softmax) == (2, True) and wants == 1
    two_of_one = has == 1 and wants == 2 and subject.task == "multiclass"
    if not (one_of_two or two_of_one) and has != wants:
        raise UsageError(
            f"{shown} cannot teach this model: it tells other classes apart",
            found=count_of(has, "class"),
            expected=f"{wants}",
            next_step="Train a teacher on this data first, and give its run: --teacher RUN",
        )
    if has == wants > 1 and softmax != (subject.task == "multiclass"):
        kinds = ("a probability for each class", "one class per pixel")
        raise UsageError(
            f"{shown} cannot teach this model: its answers are of another kind",
            found=kinds[softmax],
            expected=kinds[not softmax],
        )
    known, theirs = info.classes, model.classes
    if has == wants > 1 and theirs and len(known) == wants and theirs != known:
        raise UsageError(
            f"{shown} cannot teach this model: its classes are others, or in another order",
            found=", ".join(map(printable, theirs[:8])),
            expected=", ".join(map(printable, known[:8])),
        )
    if about.preprocess.custom is not None:
        raise UsageError(
            "a model whose preprocess is a function of its own cannot be taught",
            found=about.preprocess.custom,
            next_step="Label the pictures first: segzoo label",
        )
    bands = [pre.mode == "bands" for pre in (about.preprocess, model.preprocess)]
    if bands[0] != bands[1] or (bands[0] and about.in_channels != model.in_channels):
        raise UsageError(
            f"{shown} cannot teach this model: it takes other pictures",
            found=f"{count_of(model.in_channels, 'channel')} in mode {model.preprocess.mode}",
            expected=f"{about.in_channels} in mode {about.preprocess.mode}",
        )
