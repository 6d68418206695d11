"""A stranger's model that bears the name of one of ours."""

from segzoo.spec import ModelSpec, Postprocess, Preprocess, TaskDefaults

SPEC = ModelSpec(
    summary="not the real one",
    builder="acme_seg_model:build",
    tasks={"binary": TaskDefaults(loss="acme_seg_model:loss", postprocess=Postprocess())},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=4,
)
