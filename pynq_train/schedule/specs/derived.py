"""What follows from the spec of a layer: its scratch layer, and its shape in reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pynq_train.graph.windows import ONE
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES
from pynq_train.layers import kinds
from pynq_train.schedule.specs.layout import MapLayout
from pynq_train.schedule.specs.spec import LayerSpec


def bias_spec(spec: LayerSpec) -> LayerSpec:
    """Return the scratch layer whose weight gradient yields the channel sums of ``spec`` alone.

    It is a 1x1 convolution with the same output, whose input is one channel block with strides of
    0: every row is the same row of zeros in memory. Its weights (64 per tile of output channels)
    have no meaning.
    """
    if spec.kind.transposed:
        # The windows stand on the output, whose sums are wanted: one for each of its pixels now.
        spec = replace(spec, m=spec.n, out_rows=spec.y.rows, out_cols=spec.y.cols, kind=kinds.CONV)
    row = spec.out_cols * WORD_BYTES
    zeros = MapLayout(spec.images, 1, spec.out_rows, spec.out_cols, 0, row, 0, WORD_BYTES)
    origin = None if spec.origin is None else replace(spec.origin, x_blocks=0)
    return replace(spec, n=CHANNELS_PER_WORD, nb=1, kernel=ONE, stride=ONE,
                   pad_top=0, pad_left=0,
                   x=zeros, backward=False, flat_shape=None, groups=None, origin=origin,
                   reads=None, dilation=ONE)


def describe(spec: LayerSpec) -> dict[str, Any]:
    """Return the shape of a layer as plain values, for reports."""
    m, n = (spec.n, spec.m) if spec.kind.transposed else (spec.m, spec.n)
    return {"name": spec.name, "m": m, "n": n, "kernel": spec.kernel.side,
            "stride": spec.stride.side, "images": spec.images, "out_rows": spec.out_rows,
            "out_cols": spec.out_cols}
