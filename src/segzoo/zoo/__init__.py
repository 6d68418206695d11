"""Which models there are, and what a name means."""
