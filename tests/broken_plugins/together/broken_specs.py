"""Specs whose builders break the contract; each loads."""

from dataclasses import replace

from broken_common import SPEC as GOOD

NUMBER = replace(GOOD, builder="broken_builders:number")
MODULE = replace(GOOD, builder="torch.nn:functional")
SIGNATURE = replace(GOOD, builder="broken_builders:signature")
RETURNS = replace(GOOD, builder="broken_builders:returns")
SHAPE = replace(GOOD, builder="broken_builders:shape")
RAISES = replace(GOOD, builder="broken_builders:raises")
EXITS = replace(GOOD, builder="broken_builders:exits")
