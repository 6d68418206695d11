"""A model as one file for other programs: pictures in, masks out."""
