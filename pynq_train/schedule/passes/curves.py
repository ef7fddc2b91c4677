"""Which tables of curves a program holds, and where they stand behind its taps."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.graph.curves import Curve
from pynq_train.hw.curves import curve_bytes
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant.curves import tables
from pynq_train.schedule.passes.descriptors import Descriptor


def curve_symbol(program: str, layer: str) -> str:
    """Return the symbol of the tables of a layer's curve in a program."""
    return f"{program}.curve.{layer}"


def curves_of(layers: Sequence[FusedLayer], descriptors: Sequence[Descriptor]
              ) -> dict[Curve, list[str]]:
    """Return the curves of a program in the order of their tables, and the layers that have each.

    Equal curves of several layers share their tables.
    """
    found: dict[Curve, list[str]] = {}
    for one in descriptors:
        if one.layer >= len(layers):
            continue
        layer = layers[one.layer]
        if layer.curve is not None and layer.name not in found.setdefault(layer.curve, []):
            found[layer.curve].append(layer.name)
    return found


def table_bytes(layers: Sequence[FusedLayer], descriptors: Sequence[Descriptor]) -> bytes:
    """Return the tables of all curves of a program, one behind the other."""
    return b"".join(tables(curve) for curve in curves_of(layers, descriptors))


def table_size(curve: Curve) -> int:
    """Return the bytes of the tables of a curve."""
    return curve_bytes(curve.segment_bits)
