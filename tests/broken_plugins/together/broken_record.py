from segzoo.spec import PromptSpec

SPEC = PromptSpec(prompts=("point", "box"))
