SPEC = {"summary": "a dict, not a ModelSpec"}
