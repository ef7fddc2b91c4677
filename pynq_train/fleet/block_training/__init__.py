"""Blocks of a network, each trained by a head and a loss of its own; no gradient crosses a cut."""
