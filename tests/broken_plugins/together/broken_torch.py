from dataclasses import replace

import torch
from broken_common import SPEC as GOOD

SPEC = replace(GOOD, num_parameters=torch.Size([4]).numel())
