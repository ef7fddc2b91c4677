"""The blocks of a network: parts between maps through which everything goes."""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.graph import Conv, Dense, Flatten, GlobalAvgPool, Graph
from pynq_train.graph.wiring import INPUT

_HEAD = (Dense, Flatten, GlobalAvgPool)
"""Operations with which the classifier begins."""


@dataclass(frozen=True)
class Block:
    """A part of a network that reads one map and makes one.

    Attributes:
        source: name of the map that it reads, ``input`` for the images.
        end: name of the operation that makes its map.
    """

    source: str
    end: str


def blocks_of(graph: Graph) -> tuple[Block, ...]:
    """Return the blocks of a network in order; its classifier is none of them.

    A block ends where a single map holds all that is read later, behind a convolution that mixes
    channels (a depthwise one and the pointwise one behind it are one block) and all that follows
    it up to the next convolution or branch.
    """
    found: list[Block] = []
    source, mixed = INPUT, False
    for at, op in enumerate(graph.ops):
        if isinstance(op, _HEAD):
            break
        mixed |= isinstance(op, Conv) and (op.groups == 1 or op.kernel == 1)
        if mixed and at + 1 < len(graph.ops) and _narrow(graph, at) and _begins(graph, at):
            found.append(Block(source, op.name))
            source, mixed = op.name, False
    return tuple(found)


def _narrow(graph: Graph, at: int) -> bool:
    """Return whether everything behind operation ``at`` comes from its map alone."""
    return all(place >= at for sources in graph.sources[at + 1:] for place in sources)


def _begins(graph: Graph, at: int) -> bool:
    """Return whether a convolution, a branch or the classifier reads the map of ``at``."""
    readers = [op for op, sources in zip(graph.ops, graph.sources) if at in sources]
    return len(readers) > 1 or isinstance(readers[0], (Conv, *_HEAD))


def convolutions(graph: Graph) -> tuple[Conv, ...]:
    """Return the convolutions in front of the classifier that mix all channels, in order."""
    return tuple(op for op in graph.ops[:-1] if isinstance(op, Conv) and op.groups == 1)
