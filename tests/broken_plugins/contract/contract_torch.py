"""A spec that imports torch, through the file that it takes a number from."""

from dataclasses import replace

from contract_networks import Good
from contract_specs import GOOD

SPEC = replace(GOOD, num_parameters=sum(p.numel() for p in Good(3, 1).parameters()))
