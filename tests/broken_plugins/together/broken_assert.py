assert 1 + 1 == 3, "arithmetic has changed"
