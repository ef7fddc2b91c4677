"""Group, layer and instance normalisations of foreign networks, whatever they are called there."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pynq_train.errors import ModelWarning, UnsupportedModel
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.graph.norms import GroupNorm
from pynq_train.graph.params import FloatArray, LayerParams
from pynq_train.layers.group_norms import check_group

_ONE_LAYER = "normalise channels, rows and columns together: GroupNorm(1, channels)"


def group_norm(draft: Draft, source: Value, groups: int, eps: float, gamma: Any, beta: Any, *,
               label: str, channel_axis: int = 0, owner: Any = None, frozen: Sequence[str] = ()
               ) -> Value:
    """Append a normalisation of each image and group of channels.

    Args:
        draft: the network.
        source: what it reads, channels first.
        groups: groups of channels; -1: as many as there are channels.
        eps: what is added to the variance.
        gamma, beta: a number for each channel, or for each value of an image, equal in all pixels;
            None: there is none.
        label: what the foreign network calls it.
        channel_axis: axis of the channels where there is a number for each value.
        owner, frozen: as for :meth:`Draft.add`.

    Raises:
        Refused: the engine takes no such groups, or gamma and beta differ from pixel to pixel.
    """
    channels = source.shape[0]
    if source.flat and source.before is not None and source.before.shape[1:] != (1, 1):
        raise Refused("normalises a flattened map", "normalise the map in front of it: "
                      "GroupNorm(1, channels)")
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        raise Refused(f"has {groups} groups for {channels} channels", "use a divisor of these")
    try:
        check_group(GroupNorm(groups, name=label), channels)
    except UnsupportedModel as error:
        raise Refused(f"has groups of {channels // groups} channels", error.fix or "") from None
    op, params = GroupNorm(groups, float(eps), gamma is not None or beta is not None), None
    if op.affine:
        params = LayerParams(*(_by_channel(array, source, fill, channel_axis, draft.name, label)
                               for array, fill in ((gamma, 1.0), (beta, 0.0))))
    out = draft.add(op, source, label=label, owner=owner, params=params,
                    frozen=frozen if op.affine else ())
    return replace(out, flat=source.flat)


def layer_norm(draft: Draft, source: Value, sizes: Sequence[int], eps: float, gamma: Any, beta: Any,
               **names: Any) -> Value:
    """Append a normalisation over the last axes of ``source``, which have ``sizes``.

    ``names``: as for :func:`group_norm`.

    Raises:
        Refused: these are not all axes of an image.
    """
    if tuple(sizes) != source.dims or source.last:
        raise Refused(f"normalises over the last axes, {tuple(sizes)} of {source.dims}", _ONE_LAYER)
    return group_norm(draft, source, 1, eps, gamma, beta, **names)


def _by_channel(array: Any, source: Value, fill: float, axis: int, network: str, label: str
                ) -> FloatArray:
    """Return a number for each channel; ``fill`` where there is no array."""
    channels, values = source.shape[0], int(np.prod(source.shape))
    if array is None:
        return np.full(channels, fill, np.float32)
    found = np.asarray(array, np.float32)
    if found.size == channels:
        return found.ravel()
    if found.size != values or found.ndim < 2:
        raise Refused(f"has {found.size} values of gamma or beta for {channels} channels",
                      "give one per channel")
    rows = np.moveaxis(found, axis, 0).reshape(channels, -1)
    if (rows != rows[:, :1]).any():
        raise Refused("has a gamma and beta for each pixel", _ONE_LAYER)
    warnings.warn(f"network {network!r}: {label} has a gamma and a beta for each pixel, all equal; "
                  "here one for each channel learns", ModelWarning, stacklevel=2)
    return np.ascontiguousarray(rows[:, 0])
