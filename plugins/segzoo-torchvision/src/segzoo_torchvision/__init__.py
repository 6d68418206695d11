"""torchvision's segmentation networks: a segzoo plugin (see `spec.py`)."""
