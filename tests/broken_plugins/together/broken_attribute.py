SPECK = None
