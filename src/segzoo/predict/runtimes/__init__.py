"""Runtimes: one function each, from a network's input to its logits, behind `network.Runtime`."""
