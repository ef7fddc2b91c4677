"""Logits of imported models."""

from __future__ import annotations

import numpy as np

import pynq_train as pt
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import fuse


def logits(model: pt.Model, x: np.ndarray) -> np.ndarray:
    """Of an imported model that the engine runs, in float32."""
    fuse(model.graph)
    return FloatTrainer(model.graph, model.params).logits(x)
