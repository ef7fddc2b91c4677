"""Accuracy of every rung of the adaptation ladder; see ``__main__``."""
