from segzoo.spec import ModelSpec, Postprocess, Preprocess, TaskDefaults

SPEC = ModelSpec(
    summary="installed by tools that write neither UTF-8 nor an equals sign",
    builder="torch.nn:Conv2d",
    tasks={"binary": TaskDefaults(loss="torch.nn:BCELoss", postprocess=Postprocess())},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=4,
)
