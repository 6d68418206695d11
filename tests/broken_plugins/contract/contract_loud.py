from contract_specs import GOOD

SPEC = GOOD
print("thank you for installing contract-loud")
