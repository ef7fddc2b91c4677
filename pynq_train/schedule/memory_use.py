"""Bytes of a training by kind: with a place for each map, and with maps that take turns.

What training alone needs is the difference to a plan that only infers, whose maps take turns too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.layers.backward_graph import BackwardGraph
from pynq_train.schedule.memory.arena import SHARED, MemoryMap
from pynq_train.schedule.memory.place import Tensors, place
from pynq_train.schedule.memory.turns import take_turns
from pynq_train.schedule.passes.cached import boundary_layers
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.spec import layer_specs
from pynq_train.schedule.specs.trainable import Trainable

PROGRAMS = "programs"
"""What is no tensor: descriptors, taps, records and the step block."""
_NAMES = {"map": "feature maps", "gradient map": "gradient maps",
          SHARED: "maps and gradients in turn", "flags": "masks", "gradient sums": "sums",
          "channel sums": "sums", "scratch": "sums", "statistics": "other",
          "running statistics": "other", "coefficients": "other", "labels": "other",
          **dict.fromkeys(("program", "taps", "records", "step block"), PROGRAMS)}
"""Kind in a table by kind of region, where they differ."""
KINDS = ("feature maps", "gradient maps", "maps and gradients in turn", "masks", "weights",
         "masters", "momentum", "sums", "other", PROGRAMS)
"""All kinds, in the order of a table."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of an arena.

    Attributes:
        kinds: bytes of each of :data:`KINDS`. Masks are all flags, one or four bits a pixel and
            channel. Momentum is half of the masters that hold it; those of vectors always do.
    """

    kinds: Mapping[str, int]

    @property
    def tensors(self) -> int:
        """Bytes of all but programs."""
        return self.total - self.kinds[PROGRAMS]

    @property
    def total(self) -> int:
        """Bytes of all; what aligns regions is not counted."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class TrainingMemory:
    """Memory of a plan.

    Attributes:
        apart: with a place of its own for each map.
        turns: as planned.
        inference: of a plan for evaluations alone, whose maps take turns.
        cache: bytes of an image that a cache of the frozen layers' maps would hold, which stands
            outside the arena; 0 where none is possible.
    """

    apart: MemoryUse
    turns: MemoryUse
    inference: MemoryUse
    cache: int = 0

    def text(self) -> str:
        """Return a table, and what training needs more than inference."""
        lines = [f"{'memory':<28}{'each map apart':>15}{'in turns':>15}{'inference alone':>17}"]
        uses = (self.apart, self.turns, self.inference)
        for kind in KINDS:
            if any(use.kinds[kind] for use in uses):
                lines.append(f"{kind:<28}" + "".join(
                    f"{use.kinds[kind] / 1e6:>{width}.3f}" for use, width in zip(uses, _WIDTHS)))
        more = [(use.tensors - self.inference.tensors) / 1e6 for use in uses[:2]]
        lines.append("MB; tensors that training needs more than inference: "
                     f"{more[0]:.3f} MB with each map apart, {more[1]:.3f} MB in turns")
        if self.cache:
            lines.append(f"a cache of the frozen layers' maps: {self.cache} bytes an image")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"apart": dict(self.apart.kinds), "turns": dict(self.turns.kinds),
                "inference": dict(self.inference.kinds), "cache_bytes_per_image": self.cache}


_WIDTHS = (15, 15, 17)


def training_memory(plan: Plan) -> TrainingMemory:
    """Return the bytes of a plan's arena by kind, and of what it would be otherwise."""
    apart = place(_tensors(plan), {"train": plan.train, "evaluate": plan.evaluate})
    return TrainingMemory(_use(apart, plan), _use(plan.memory, plan),
                          _use(inference_arena(plan), plan), _cache(plan))


def _cache(plan: Plan) -> int:
    """Return the bytes of an image in a cache, 0 where none is possible."""
    try:
        boundary = boundary_layers(plan.layers, plan.active)
    except BadInput:
        return 0
    return sum(plan.specs[place].y.nbytes for place in boundary) // plan.batch


def inference_arena(plan: Plan) -> MemoryMap:
    """Return the arena of the evaluation of a plan without its training."""
    frozen = (Trainable(False, False),) * len(plan.layers)
    idle = (False,) * len(plan.layers)
    specs = layer_specs(plan.layers, plan.batch, 0, plan.board.config.tm, idle, (True,) * len(idle))
    tensors = replace(_tensors(plan), specs=specs, trainable=frozen, active=idle,
                      backward_graph=BackwardGraph(()))
    memory = place(tensors, {"evaluate": plan.evaluate})
    return take_turns(memory, tensors, ((plan.evaluate, False),))


def _tensors(plan: Plan) -> Tensors:
    return Tensors(plan.layers, plan.specs, plan.trainable, plan.batch, plan.momentum, plan.active,
                   plan.backward_graph, plan.parts)


def _use(memory: MemoryMap, plan: Plan) -> MemoryUse:
    found = dict.fromkeys(KINDS, 0)
    for region in memory:
        kind = _NAMES.get(region.kind, region.kind)
        momentum = 0
        if kind == "masters" and (plan.momentum or not region.symbol.endswith(".wv")):
            momentum = region.nbytes // 2
        found["momentum"] += momentum
        found[kind] += region.nbytes - momentum
    return MemoryUse(MappingProxyType(found))
