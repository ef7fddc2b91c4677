"""Notebooks: ``pynq get-notebooks pynq_train`` copies them (``-d NAME`` on a PC)."""
