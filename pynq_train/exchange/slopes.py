"""Rectifiers whose slope below zero is learnt (PReLU), made of layers that the engine has.

``prelu(x) = x + (1 - slope) * relu(-x)``: two depthwise convolutions of one pixel (by -1, which
never learns, and by 1 - slope, which does), a rectifier and a sum. What learns is 1 - slope: its
steps are those of the slope, turned round; weight decay draws slopes to 1, where PReLU's own would
draw them to 0.

Source: He et al., "Delving Deep into Rectifiers" (2015).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from pynq_train.errors import ModelWarning
from pynq_train.exchange.draft import Draft
from pynq_train.exchange.shared_tensors import WEIGHT
from pynq_train.exchange.values import Value
from pynq_train.exchange.windows import Refused
from pynq_train.graph.activation import Relu
from pynq_train.graph.ops import Add
from pynq_train.graph.params import FloatArray


def prelu(draft: Draft, value: Value, slopes: FloatArray, *, label: str, owner: Any = None,
          frozen: Sequence[str] = ()) -> Value:
    """Append what computes a PReLU, and return its output.

    Args:
        draft: the network.
        value: the map.
        slopes: float32, one for each channel, or one for all of any number of axes.
        label: what the foreign network calls it.
        owner: whose slopes they are.
        frozen: ``weight``, if they do not learn there.

    Raises:
        Refused: it reads a vector, or there are as many slopes as neither channels nor one.
    """
    channels = value.shape[0]
    if value.flat:
        raise Refused("rectifies a vector", "use LeakyReLU with its slope there")
    if slopes.size not in (1, channels):
        raise Refused(f"has {slopes.size} slopes for {channels} channels",
                      "give one for each channel, or one for all")
    if slopes.size == 1 and channels > 1 and WEIGHT not in frozen:
        warnings.warn(f"network {draft.name!r}: {label} has one slope for all channels; here one "
                      "for each channel learns", ModelWarning, stacklevel=2)
    own = np.broadcast_to(slopes.reshape(-1), channels)

    def scaled(source: Value, by: FloatArray, name: str, **options: Any) -> Value:
        return draft.conv(source, by.reshape(-1, 1, 1, 1), None, kernel=1, stride=1,
                          padding=0, dilation=1, groups=channels, label=f"{label}.{name}",
                          **options)

    minus = scaled(value, np.full(channels, -1, np.float32), "minus", frozen=[WEIGHT])
    below = draft.add(Relu(), minus, label=f"{label}.below")
    slope = scaled(below, np.float32(1) - own, "slope", owner=owner, frozen=frozen)
    return draft.add(Add(), value, slope, label=label)
