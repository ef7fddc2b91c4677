"""Notebooks, delivered to a board by ``pynq get-notebooks pynq-train``."""
