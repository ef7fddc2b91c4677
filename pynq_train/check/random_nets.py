"""Random small networks of all kinds: every legal combination of layers sooner or later."""

from __future__ import annotations

from pynq_train.check.draw import RandomNet
from pynq_train.check.random_branches import random_branched_net
from pynq_train.check.random_chains import random_chain


def random_net(seed: int) -> RandomNet:
    """Return network ``seed``: of four in a row two are chains, two have work for the vector unit.

    Chains are counted in the order of seeds, because they go round all kernels and strides. A seed
    names one network, whichever others are drawn.

    Raises:
        RuntimeError: no network of this seed is small enough.
    """
    group, place = divmod(seed, 4)
    # Two neighbours of each kind: odd seeds train without momentum, and all kinds shall do so.
    number = 2 * group + place % 2
    return random_chain(number) if place < 2 else random_branched_net(number)
