"""Cycles of networks counted by the RTL on a virtual board, beside those that are predicted."""
