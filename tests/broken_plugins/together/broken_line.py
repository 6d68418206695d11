from broken_common import SPEC as SPEC
