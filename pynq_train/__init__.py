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
from pynq_train.data import digits, load_npz, prepare_images
from pynq_train.errors import PynqTrainError
from pynq_train.graph import Conv, Dense, Flatten, Graph, MaxPool2x2, Relu, Sequential, zoo
from pynq_train.train import (
    SGD,
    Evaluation,
    History,
    Learner,
    callbacks,
    fit_float,
    schedules,
    verify,
)

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Conv",
    "Dense",
    "Evaluation",
    "Flatten",
    "Graph",
    "History",
    "Learner",
    "MaxPool2x2",
    "PynqTrainError",
    "Relu",
    "Sequential",
    "__version__",
    "callbacks",
    "data",
    "digits",
    "fit_float",
    "load",
    "load_npz",
    "prepare_images",
    "schedules",
    "verify",
    "zoo",
]


def load(path: str | os.PathLike[str], board: str = "golden", batch: int | None = None,
         optimizer: SGD | None = None, train: str | Sequence[str] | None = None) -> Learner:
    """Return the learner that ``Learner.save`` wrote; see :meth:`Learner.load`."""
    return Learner.load(path, board, batch, optimizer, train)
