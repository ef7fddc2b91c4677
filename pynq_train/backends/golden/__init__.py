"""The golden backend: the definition of the arithmetic, in NumPy."""

from pynq_train.backends.golden.backend import GoldenBackend
from pynq_train.backends.golden.machine import GoldenMachine

__all__ = ["GoldenBackend", "GoldenMachine"]
