"""Cycle model: a program of descriptors as the engine runs it, tile by tile and burst by burst."""

from pynq_train.schedule.simulate.engine import Command, Engine, Trace
from pynq_train.schedule.simulate.memory import Memory
from pynq_train.schedule.simulate.vector import unit_cycles

__all__ = ["Command", "Engine", "Memory", "Trace", "unit_cycles"]
