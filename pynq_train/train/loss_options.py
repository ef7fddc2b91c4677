"""What a checkpoint says of a loss besides its name and label smoothing."""

from __future__ import annotations

from pynq_train.files.schema import Flag, Items, Maybe, Number, Record, Whole

MOST_INDEX = 1 << 31
"""Largest magnitude of an ``ignore_index``."""
MOST_DELTA = 1 << 14
"""Largest difference up to which Huber's loss is squared."""
LOSS_OPTIONS = Record({
    "values": Flag(), "class_weights": Items(Number(0), most=1 << 20),
    "ignore_index": Maybe(Whole(-MOST_INDEX, MOST_INDEX)),
    "huber_delta": Number(0, MOST_DELTA), "threshold": Maybe(Number(0))})
"""Their schema; files of earlier releases have none."""
