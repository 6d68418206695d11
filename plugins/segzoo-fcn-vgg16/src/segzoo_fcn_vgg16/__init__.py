"""FCN on VGG16: a segzoo plugin (see `spec.py`)."""
