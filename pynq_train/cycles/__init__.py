"""Cycle model: predicts in which cycle every unit of the engine does what, without any data.

It runs a program of descriptors tile by tile and burst by burst. Units are generator processes on
an event queue (:mod:`~pynq_train.cycles.kernel`); they pass each other counts and cycles, never
values. All times are cycles of the engine's clock. Fixed delays between units stand as named
constants beside the unit that they belong to.
"""

from pynq_train.cycles.compiled import Model, model
from pynq_train.cycles.engine import Engine
from pynq_train.cycles.trace import Command, Trace
from pynq_train.cycles.vector import unit_cycles

__all__ = ["Command", "Engine", "Model", "Trace", "model", "unit_cycles"]
