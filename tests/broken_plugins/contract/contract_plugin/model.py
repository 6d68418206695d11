from . import blocks


class Dependent(blocks.Base):
    pass
