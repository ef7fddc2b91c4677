"""Descriptors of a program as the scheduler knows them: what each does, for which layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pynq_train.hw.commands import PARAM_BYTES, Opcode
from pynq_train.schedule.passes.cost import Cost
from pynq_train.schedule.passes.geometry import TiledPass
from pynq_train.schedule.specs.spec import LayerSpec

SOFTMAX_PARAM = 0
"""Index of the softmax entry in the step block."""


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
    """The vector unit waits for the array's sources of a joined map, and reads a word of it."""
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
        """Opcode of the descriptor."""
        return _OPCODES.get(self, Opcode.CONV)


_OPCODES = {
    Role.SOFTMAX: Opcode.SOFTMAX,
    Role.WEIGHT_GRADIENT: Opcode.GRADIENT, Role.BIAS_SUMS: Opcode.GRADIENT,
    Role.UPDATE_BIAS: Opcode.UPDATE, Role.UPDATE_GAMMA: Opcode.UPDATE,
    Role.NORM_SUMS: Opcode.VECTOR, Role.BACKWARD_SUMS: Opcode.VECTOR,
    Role.FORWARD_VECTOR: Opcode.VECTOR, Role.BACKWARD_VECTOR: Opcode.VECTOR,
    Role.CONCAT_BARRIER: Opcode.VECTOR,
    Role.NORM_COEFFICIENTS: Opcode.NORM, Role.BACKWARD_NORM: Opcode.NORM,
    Role.POOL: Opcode.POOL, Role.UNPOOL: Opcode.POOL}
_PARAM_OF = {Role.FORWARD: 1, Role.NORM_SUMS: 1, Role.FORWARD_VECTOR: 1, Role.POOL: 1,
             Role.CONCAT_BARRIER: 1,
             Role.BACKWARD: 2, Role.WEIGHT_GRADIENT: 3, Role.BIAS_SUMS: 3, Role.UPDATE_GAMMA: 3,
             Role.UPDATE_BIAS: 4}


def param_index(role: Role, layer: int) -> int:
    """Index of the step-block entry of a descriptor that stands for a layer."""
    return SOFTMAX_PARAM if role == Role.SOFTMAX else 4 * layer + _PARAM_OF[role]


@dataclass(frozen=True)
class StepBlockLayout:
    """Where each entry of the step block stands: one for softmax, four for each layer, and behind
    them those that only networks with work on the vector unit have: one for the coefficients of
    each layer, two for each node of the backward graph.

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
        """The layout for ``specs`` and a backward graph of ``nodes`` nodes."""
        return cls(len(specs), nodes, not all(spec.on_array for spec in specs))

    @property
    def entries(self) -> int:
        """Number of entries."""
        own = 1 + 4 * self.layers
        return own + self.layers + 2 * self.nodes if self.on_vector else own

    @property
    def nbytes(self) -> int:
        """Size of the step block."""
        return self.entries * PARAM_BYTES

    def coefficients(self, layer: int) -> int:
        """Index of the entry for the coefficients of a normalisation."""
        return 1 + 4 * self.layers + layer

    def node(self, number: int, coefficients: bool = False) -> int:
        """Index of the entry of a node of the backward graph, or of the coefficients it reads."""
        return 1 + 5 * self.layers + 2 * number + coefficients

    def index(self, descriptor: Descriptor) -> int:
        """Index of the entry that a descriptor refers to."""
        if descriptor.role == Role.NORM_COEFFICIENTS:
            return self.coefficients(descriptor.layer)
        if descriptor.node >= 0:
            return self.node(descriptor.node, descriptor.role == Role.BACKWARD_NORM)
        return param_index(descriptor.role, descriptor.layer)


@dataclass(frozen=True)
class Descriptor:
    """One descriptor of a program: what it does, and for convolutions how.

    ``layer`` is the position of its layer; ``tiled`` and ``cost`` are None unless it is a
    convolution. ``images``: first image and count, None for the whole mini-batch, and ``part``
    the number of that part. ``node``: position in the backward graph of what the vector unit does
    for it.
    """

    role: Role
    layer: int
    tiled: TiledPass | None = None
    cost: Cost | None = None
    images: tuple[int, int] | None = None
    part: int = 0
    node: int = -1
