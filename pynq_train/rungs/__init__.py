"""Rungs of the adaptation ladder: networks with adapters, and adapters merged back."""

from pynq_train.rungs.adapters import GATED
from pynq_train.rungs.ladder import RUNGS, Adapted, given, with_adapters
from pynq_train.rungs.merge import merge

__all__ = ["GATED", "RUNGS", "Adapted", "given", "merge", "with_adapters"]
