"""Overlays of real boards: the Vivado flow and the tool that runs it."""
