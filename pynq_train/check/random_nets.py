"""Random small networks of all kinds: every legal combination of layers sooner or later."""

from __future__ import annotations

from pynq_train.check.draw import Draw, RandomNet
from pynq_train.check.random_branches import random_branched_net
from pynq_train.check.random_chains import random_chain
from pynq_train.errors import BadInput
from pynq_train.rungs import RUNGS, with_adapters

_RUNG_STREAM = 0xADA9
_ADAPTED = 35
"""Of 100 fourth networks so many have adapters, where they have a layer that can be adapted."""


def random_net(seed: int) -> RandomNet:
    """Return network ``seed``: of four in a row two are chains, two have work for the vector unit.

    Chains are counted in the order of seeds, because they go round all kernels and strides. A seed
    names one network, whichever others are drawn. Some of the fourth ones have adapters, which then
    learn alone.

    Raises:
        RuntimeError: no network of this seed is small enough.
    """
    group, place = divmod(seed, 4)
    # Two neighbours of each kind: odd seeds train without momentum, and all kinds shall do so.
    number = 2 * group + place % 2
    drawn = random_chain(number) if place < 2 else random_branched_net(number)
    draw = Draw(seed, _RUNG_STREAM)
    # Chains stay what they are: in a run of them each kernel and stride comes once.
    if place < 3 or not draw.chance(_ADAPTED):
        return drawn
    try:
        adapted = with_adapters(drawn.graph, draw.one_of(RUNGS), rank=draw.between(1, 6),
                                tile=4 * draw.between(1, 4))
    except BadInput:  # nothing that the rung could adapt
        return drawn
    return RandomNet(adapted.model.graph, drawn.batch, adapted.trainable)
