"""Light networks for salient objects: a segzoo plugin (see `spec.py`)."""
