"""Passes of a training step: geometry, tiles, cost and order of the descriptors."""
