"""transformers' segmentation networks: a segzoo plugin (see `spec.py`)."""
