"""Specs of the network in shrinking.py, of any size and of one; as a plugin's, without torch."""

from segzoo.spec import ModelSpec, Option, Postprocess, Preprocess, TaskDefaults

TASKS = {"binary": TaskDefaults(loss="bright:no_loss", postprocess=Postprocess())}

ANY = ModelSpec(
    summary="shrinks pictures of any size",
    builder="shrinking:shrinking",
    options={"width": Option(default=4, min=1)},
    tasks=TASKS,
    preprocess=Preprocess(multiple_of=8),
    num_classes=1,
    num_parameters=125,
)
FIXED = ModelSpec(
    summary="shrinks pictures of one size",
    builder="shrinking:shrinking",
    options={"width": Option(default=4, min=1)},
    tasks=TASKS,
    preprocess=Preprocess(size=(24, 32), resize="stretch"),
    num_classes=1,
    num_parameters=125,
)
