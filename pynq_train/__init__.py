"""Train small CNNs in the FPGA fabric of a PYNQ board, or on the same RTL on a PC.

::

    import pynq_train as pt

    learner = pt.Learner("digits", board="golden", optimizer=pt.SGD(lr=0.05))
    learner.fit(x, y, epochs=5, validation_data=(xv, yv))
    learner.save("mine.safetensors")
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from pynq_train import data
from pynq_train.check import verify
from pynq_train.data import digits, load_npz, prepare_images
from pynq_train.errors import PynqTrainError
from pynq_train.exchange import export_onnx, from_keras, from_onnx, from_torch
from pynq_train.graph import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Graph,
    MaxPool,
    MaxPool2x2,
    Model,
    PadChannels,
    Relu,
    Relu6,
    Sequential,
    zoo,
)
from pynq_train.layers import fold_batchnorm
from pynq_train.train import SGD, Evaluation, History, Learner, callbacks, fit_float, schedules

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Add",
    "AvgPool",
    "BatchNorm",
    "Concat",
    "Conv",
    "Dense",
    "Dropout",
    "Evaluation",
    "Flatten",
    "GlobalAvgPool",
    "Graph",
    "History",
    "Learner",
    "MaxPool",
    "MaxPool2x2",
    "Model",
    "PadChannels",
    "PynqTrainError",
    "Relu",
    "Relu6",
    "Sequential",
    "__version__",
    "callbacks",
    "data",
    "digits",
    "export_onnx",
    "fit_float",
    "fold_batchnorm",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load",
    "load_npz",
    "prepare_images",
    "schedules",
    "verify",
    "zoo",
]


def load(path: str | os.PathLike[str], board: str = "golden", batch: int | None = None,
         optimizer: SGD | None = None,
         train: str | Sequence[str] | None = None, loss: str | None = None,
         label_smoothing: float | None = None,
         accumulate: int | None = None) -> Learner | Model:
    """Return the learner that ``Learner.save`` wrote, or the model of an ONNX file.

    A learner goes on with what it was, see :meth:`Learner.load`. From a path that ends in
    ``.onnx`` comes a :class:`Model` for ``Learner(model, ...)``; the other arguments are not used.
    """
    if os.fspath(path).lower().endswith(".onnx"):
        return from_onnx(path)
    return Learner.load(path, board, batch, optimizer, train, loss, label_smoothing, accumulate)
