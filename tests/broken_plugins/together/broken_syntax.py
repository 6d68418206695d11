SPEC = ModelSpec(
