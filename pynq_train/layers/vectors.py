"""Vectors that scale the channels of maps: which layers write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pynq_train.graph.windows import ONE
from pynq_train.layers import kinds
from pynq_train.layers.fused_layer import FusedLayer


def with_vectors(layers: Sequence[FusedLayer]) -> tuple[FusedLayer, ...]:
    """Return layers in which vectors that scale maps are made as vectors.

    Squeeze-and-excitation has 1x1 convolutions behind a mean as often as dense layers: there they
    are the same, but a dense layer writes a vector, as the scaling reads it.
    """
    wanted = {layer.sources[1] for layer in layers if layer.kind.scales}
    found = list(layers)
    for at in reversed(range(len(layers))):
        layer = layers[at]
        if at not in wanted or layer.kind.to_vector:
            continue
        if (layer.kind == kinds.CONV and layer.in_shape[1:] == (1, 1) and layer.groups == 1
                and layer.kernel == ONE and not layer.average and not layer.pool):
            found[at] = replace(layer, kind=kinds.DENSE, pointwise=True)
            # What it reads may be such a convolution: then that writes a vector, too.
            wanted.add(layer.sources[0])
        elif layer.kind.wordwise:
            wanted.update(layer.sources)
    return tuple(found)
