"""UNet++, U-Nets of four depths nested in one network: a segzoo plugin (see `spec.py`)."""
