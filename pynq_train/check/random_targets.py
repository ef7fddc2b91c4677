"""Losses at the ends of verified networks, and targets for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.check.options import Options
from pynq_train.graph.rng import hash_u64, normal_float32
from pynq_train.layers.ends import is_bare, read_by_softmax
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant.loss import BINARY, CROSS_ENTROPY, HUBER, MSE, Loss
from pynq_train.schedule.plan import Plan, loss_at

_IGNORED = -1


def loss_of(options: Options, layers: Sequence[FusedLayer], batch: int) -> Loss:
    """Return a loss that suits the end of a network.

    Behind what the softmax unit reads it is that of the options, behind anything else one that the
    host computes: ``options.end`` says which.

    Args:
        options: of the verification.
        layers: the network.
        batch: images of a mini-batch.
    """
    classes = layers[-1].out_channels
    if read_by_softmax(layers):
        return options.loss_of(classes)
    if not is_bare(layers[-1]):
        chosen = (MSE, HUBER)[options.end % 2]
    elif classes == 1:
        chosen = (BINARY, BINARY, MSE, HUBER)[options.end % 4]
    else:
        # Numbers come behind activations as well.
        chosen = (CROSS_ENTROPY, BINARY, CROSS_ENTROPY,
                  (MSE, HUBER)[options.end // 4])[options.end % 4]
    more: dict[str, object] = {}
    if chosen == HUBER:
        more = {"delta": 0.5}
    elif chosen == MSE:
        more = {"values": True}
    elif options.end >= 4:
        more = {"ignore": _IGNORED, "weights": tuple(0.5 + at % 3 for at in range(classes))}
    return loss_at(layers, batch, chosen, **more)


def random_targets(plan: Plan, key: int) -> Array:
    """Return targets of a mini-batch: labels, or numbers.

    Args:
        plan: the network, with its loss.
        key: of a stream of random numbers.
    """
    loss, batch = plan.loss, plan.batch
    shape: tuple[int, ...] = (batch, *plan.layers[-1].out_shape)
    if loss.numbers:
        return normal_float32(key, int(np.prod(shape))).reshape(shape)
    labels = loss.kind != BINARY
    if not loss.on_host:
        shape = (batch,)
    elif labels:
        shape = (batch, *shape[2:])
    draws = hash_u64(key, 0, int(np.prod(shape))).reshape(shape)
    found: NDArray[np.int64] = (draws % np.uint64(plan.classes if labels else 2)).astype(np.int64)
    if loss.ignore is not None:
        found[(draws >> np.uint64(32)) % np.uint64(5) == 0] = loss.ignore
    return found if labels else found.astype(np.float32)
