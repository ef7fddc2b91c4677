"""A training step that begins behind its frozen layers, with their maps of an earlier pass.

Layers whose outputs have no gradient make the same of an image in every step, as long as neither
they nor their exponents change. The maps that others read of them are the *boundary*: a step that
finds them in memory needs no descriptor of the layers in front.
"""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.errors import BadInput
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.passes.descriptors import Descriptor
from pynq_train.schedule.specs.concat_buffer import concat_views

CACHED = "cached"
"""Name of the program of such a step."""


def boundary_layers(layers: Sequence[FusedLayer], active: Sequence[bool]) -> tuple[int, ...]:
    """Return the positions of the layers whose maps a cached step reads, in order.

    Args:
        layers: the fused layers.
        active: whether each layer's output has a gradient.

    Raises:
        BadInput: nothing is frozen in front of what is trained, a frozen layer there drops
            elements, or its map stands in a concat buffer.
    """
    boundary = sorted({place for layer, own in zip(layers, active) if own
                  for place in layer.sources if place >= 0 and not active[place]})
    if not boundary:
        raise BadInput("cache", expected="frozen layers in front of what is trained",
                       found="none: the first trained layer reads the images",
                       fix='choose what is trainable, such as "last-layer" or "last-block"')
    dropping = [layer.name for layer, own in zip(layers, active) if layer.drop and not own]
    if dropping:
        raise BadInput("cache", expected="frozen layers that make the same of an image each time",
                       found=f"the dropout {dropping[0]!r} among them", fix="train without cache")
    views = concat_views(layers)
    joined = [layers[place].name for place in boundary if place in views]
    if joined:
        raise BadInput("cache", expected="maps with places of their own",
                       found=f"{joined[0]!r} in a concatenation", fix="train without cache")
    return tuple(boundary)


def cached_step(train: Sequence[Descriptor], active: Sequence[bool]) -> tuple[Descriptor, ...]:
    """Return the descriptors of a training step without those of layers that have no gradient."""
    return tuple(one for one in train if active[one.layer])
