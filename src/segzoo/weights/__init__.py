"""Tensors in and out."""
