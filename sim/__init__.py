"""Simulation: virtual board, benches, synthesis."""
