"""A small U-Net for pictures of digits: a segzoo plugin (see `spec.py`)."""
