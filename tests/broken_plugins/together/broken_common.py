"""A spec that keeps the contract, for plugins that break it elsewhere."""

from segzoo.spec import ModelSpec, Postprocess, Preprocess, TaskDefaults

SPEC = ModelSpec(
    summary="a model for tests",
    builder="broken_builders:good",
    tasks={"binary": TaskDefaults(loss="broken_builders:loss", postprocess=Postprocess())},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=4,
    head=("head.",),
    stem=("head.",),
)
