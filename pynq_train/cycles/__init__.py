"""Cycle model: a program of descriptors as the engine runs it, tile by tile and burst by burst."""

from pynq_train.cycles.engine import Engine
from pynq_train.cycles.trace import Command, Trace
from pynq_train.cycles.vector import unit_cycles

__all__ = ["Command", "Engine", "Trace", "unit_cycles"]
