from dataclasses import replace

from broken_common import SPEC as GOOD

SPEC = replace(GOOD, prompts=("point", "box"))
