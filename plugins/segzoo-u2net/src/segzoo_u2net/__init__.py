"""U²-Net and U²-Netp for salient object detection: a segzoo plugin (see `spec.py`)."""
