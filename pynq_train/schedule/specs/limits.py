"""Limits of the units that a network must keep; they are checked before anything is planned."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.errors import DoesNotFit
from pynq_train.hw.config import HwConfig
from pynq_train.hw.pool import most_columns
from pynq_train.schedule.specs.spec import LayerSpec


def check_pools(specs: Sequence[LayerSpec], config: HwConfig) -> None:
    """Check that every row of a feature map that the vector unit pools fits the unit's line memory.

    Raises:
        DoesNotFit: a pooled feature map has more columns than the line memory holds.
    """
    for spec in specs:
        most = most_columns(config.line_columns, spec.kernel.rows)
        if spec.kind.windowed and spec.x.cols > most:
            raise DoesNotFit(f"layer {spec.name!r}: columns of a map that is pooled",
                             expected=f"at most {most}", found=spec.x.cols,
                             fix="use a convolution with a stride in front of it")
