"""The U-Net family: a segzoo plugin (see `spec.py`)."""
