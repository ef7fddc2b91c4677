"""Accuracy of fixed-point training against float32, in pairs of equal seeds."""
