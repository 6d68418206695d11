from dataclasses import replace

from contract_specs import GOOD

SPEC = replace(GOOD, builder="contract_plugin.model:Dependent")
