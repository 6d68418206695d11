from contract_networks import Good
from segzoo.errors import SegzooError


class Base(Good):
    error = SegzooError
