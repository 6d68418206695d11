"""The decoders of segmentation-models-pytorch: a segzoo plugin (see `spec.py`)."""
