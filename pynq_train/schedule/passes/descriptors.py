"""Descriptors of a program as the scheduler knows them: what each does, for which layer.

Also where each descriptor's entry of the step block stands, which depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pynq_train.hw.commands import PARAM_BYTES, Opcode
from pynq_train.schedule.passes.cost import Cost
from pynq_train.schedule.passes.geometry import TiledPass
from pynq_train.schedule.specs.spec import LayerSpec

SOFTMAX_PARAM = 0
"""Index of the softmax unit's step-block entry."""


class Role(Enum):
    """What a descriptor does."""

    FORWARD = "forward"
    SOFTMAX = "softmax"
    BACKWARD = "backward"
    WEIGHT_GRADIENT = "weight gradient and update"
    UPDATE_BIAS = "update bias"
    BIAS_SUMS = "bias gradient"
    """Weight gradient of a scratch 1x1 convolution over zeros, for its channel sums: the weights
    of the layer stay as they are."""
    CONCAT_BARRIER = "wait for the parts"
    """The vector unit waits for the array's sources of a concat buffer, and reads a word of it."""
    NORM_SUMS = "statistics"
    NORM_COEFFICIENTS = "coefficients"
    FORWARD_VECTOR = "forward on the vector unit"
    BACKWARD_SUMS = "sums of the gradient"
    BACKWARD_NORM = "coefficients of the gradient"
    BACKWARD_VECTOR = "gradient on the vector unit"
    UPDATE_GAMMA = "update gamma"
    POOL = "pooling"
    UNPOOL = "gradient of pooling"

    @property
    def opcode(self) -> Opcode:
        """Opcode of a descriptor with this role."""
        return _OPCODES.get(self, Opcode.CONV)

    @property
    def forward(self) -> bool:
        """Whether it belongs to the forward half of a step, or is the loss."""
        return self in _FORWARD


_OPCODES = {
    Role.SOFTMAX: Opcode.SOFTMAX,
    Role.WEIGHT_GRADIENT: Opcode.GRADIENT, Role.BIAS_SUMS: Opcode.GRADIENT,
    Role.UPDATE_BIAS: Opcode.UPDATE, Role.UPDATE_GAMMA: Opcode.UPDATE,
    Role.NORM_SUMS: Opcode.VECTOR, Role.BACKWARD_SUMS: Opcode.VECTOR,
    Role.FORWARD_VECTOR: Opcode.VECTOR, Role.BACKWARD_VECTOR: Opcode.VECTOR,
    Role.CONCAT_BARRIER: Opcode.VECTOR,
    Role.NORM_COEFFICIENTS: Opcode.NORM, Role.BACKWARD_NORM: Opcode.NORM,
    Role.POOL: Opcode.POOL, Role.UNPOOL: Opcode.POOL}
_FORWARD = frozenset({Role.FORWARD, Role.SOFTMAX, Role.CONCAT_BARRIER, Role.NORM_SUMS,
                      Role.NORM_COEFFICIENTS, Role.FORWARD_VECTOR, Role.POOL})
_PARAM_OF = {Role.FORWARD: 1, Role.NORM_SUMS: 1, Role.FORWARD_VECTOR: 1, Role.POOL: 1,
             Role.CONCAT_BARRIER: 1,
             Role.BACKWARD: 2, Role.WEIGHT_GRADIENT: 3, Role.BIAS_SUMS: 3, Role.UPDATE_GAMMA: 3,
             Role.UPDATE_BIAS: 4}
"""Which of the four step-block entries of a layer a descriptor reads, 1 to 4."""


def param_index(role: Role, layer: int) -> int:
    """Return the index of the step-block entry of a descriptor that stands for a layer."""
    return SOFTMAX_PARAM if role == Role.SOFTMAX else 4 * layer + _PARAM_OF[role]


@dataclass(frozen=True)
class StepBlockLayout:
    """Where each entry of the step block stands.

    There is one for softmax and there are four for each layer. Networks with work on the vector
    unit have more behind them: one for the coefficients of each layer, two for each node of the
    backward graph.

    Attributes:
        layers: number of layers.
        nodes: number of nodes of the backward graph.
        on_vector: whether any layer runs on the vector unit.
    """

    layers: int
    nodes: int
    on_vector: bool

    @classmethod
    def of(cls, specs: Sequence[LayerSpec], nodes: int) -> StepBlockLayout:
        """Return the layout for layers and a backward graph of ``nodes`` nodes."""
        return cls(len(specs), nodes, not all(spec.on_array for spec in specs))

    @property
    def entries(self) -> int:
        """Number of entries of the step block."""
        own = 1 + 4 * self.layers
        return own + self.layers + 2 * self.nodes if self.on_vector else own

    @property
    def nbytes(self) -> int:
        """Bytes of the step block."""
        return self.entries * PARAM_BYTES

    def coefficients(self, layer: int) -> int:
        """Return the index of the entry for the forward coefficients of a normalisation."""
        return 1 + 4 * self.layers + layer

    def node(self, number: int, coefficients: bool = False) -> int:
        """Return the index of the entry of a backward graph's node, or of the coefficients it
        reads."""
        return 1 + 5 * self.layers + 2 * number + coefficients

    def index(self, descriptor: Descriptor) -> int:
        """Return the index of the entry that a descriptor refers to."""
        if descriptor.role == Role.NORM_COEFFICIENTS:
            return self.coefficients(descriptor.layer)
        if descriptor.node >= 0:
            return self.node(descriptor.node, descriptor.role == Role.BACKWARD_NORM)
        return param_index(descriptor.role, descriptor.layer)


@dataclass(frozen=True)
class Descriptor:
    """One descriptor of a program: what it does, and for the array how.

    Attributes:
        role: what it does.
        layer: position of the layer for which it does it.
        tiled: the pass and its tiles; None unless the array runs it.
        cost: predicted cost of the pass; None unless the array runs it.
        images: first image and count; None for the whole mini-batch.
        part: number of that part of the mini-batch.
        node: position in the backward graph of what the vector unit does; -1: nothing of it.
    """

    role: Role
    layer: int
    tiled: TiledPass | None = None
    cost: Cost | None = None
    images: tuple[int, int] | None = None
    part: int = 0
    node: int = -1
