"""Limits of the units that a network must keep, checked before anything is planned."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.errors import DoesNotFit
from pynq_train.hw.config import HwConfig
from pynq_train.hw.pool import SPARE_COLUMNS
from pynq_train.schedule.specs.spec import LayerSpec


def check_pools(specs: Sequence[LayerSpec], config: HwConfig) -> None:
    """Raise :class:`DoesNotFit` if a row of a pooled map does not fit the line of the unit."""
    most = config.line_columns - SPARE_COLUMNS
    for spec in specs:
        if spec.kind.windowed and spec.x.cols > most:
            raise DoesNotFit(f"layer {spec.name!r}: columns of a map that is pooled",
                             expected=f"at most {most}", found=spec.x.cols,
                             fix="use a convolution with a stride in front of it")
