"""Data sets: readers, labels, augmentation, and what finds their faults before training."""
