"""Passes of a training step: geometry, tiles, cost, parts and order of the descriptors."""
