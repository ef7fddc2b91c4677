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
from typing import Any, overload

from pynq_train import data, select
from pynq_train.adaptation import adapt, fit_gates
from pynq_train.check import verify
from pynq_train.data import load_data, load_digits, load_npy, load_npz
from pynq_train.errors import BadInput, DataWarning, ModelWarning, PynqTrainError, TrainingWarning
from pynq_train.exchange import export_onnx, from_keras, from_onnx, from_torch
from pynq_train.files import path_text
from pynq_train.fleet.boards import Boards, split
from pynq_train.fleet.hierarchy.tree import Hierarchy
from pynq_train.fleet.members import Members
from pynq_train.graph import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Elu,
    Flatten,
    Gelu,
    GlobalAvgPool,
    Graph,
    GroupNorm,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    MaxPool,
    MaxPool2x2,
    Model,
    Multiply,
    PadChannels,
    PickChannels,
    Relu,
    Relu6,
    Sequential,
    Sigmoid,
    Silu,
    Tanh,
    Upsample,
    zoo,
)
from pynq_train.graph.frozen_norms import freeze_norms
from pynq_train.images import pad_images, prepare_images
from pynq_train.layers import fold_batchnorm
from pynq_train.rungs import RUNGS, merge, with_adapters
from pynq_train.schedule.specs.trainable import KEYWORDS as TRAINABLE_CHOICES
from pynq_train.schedule.specs.trainable import TrainableChoice
from pynq_train.train import (
    SGD,
    EpochResult,
    Evaluation,
    History,
    Learner,
    callbacks,
    fit_float,
    schedules,
)
from pynq_train.version import VERSION as __version__

__all__ = [
    "RUNGS",
    "SGD",
    "TRAINABLE_CHOICES",
    "Add",
    "AvgPool",
    "BatchNorm",
    "Boards",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DataWarning",
    "Dense",
    "Dropout",
    "Elu",
    "EpochResult",
    "Evaluation",
    "Flatten",
    "Gelu",
    "GlobalAvgPool",
    "Graph",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "Hierarchy",
    "History",
    "LeakyRelu",
    "Learner",
    "MaxPool",
    "MaxPool2x2",
    "Members",
    "Model",
    "ModelWarning",
    "Multiply",
    "PadChannels",
    "PickChannels",
    "PynqTrainError",
    "Relu",
    "Relu6",
    "Sequential",
    "Sigmoid",
    "Silu",
    "Tanh",
    "TrainingWarning",
    "Upsample",
    "__version__",
    "adapt",
    "callbacks",
    "data",
    "export_onnx",
    "fit_float",
    "fit_gates",
    "fold_batchnorm",
    "freeze_norms",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load",
    "load_data",
    "load_digits",
    "load_npy",
    "load_npz",
    "merge",
    "pad_images",
    "prepare_images",
    "schedules",
    "select",
    "split",
    "verify",
    "with_adapters",
    "zoo",
]


@overload
def load(path: str | os.PathLike[str], board: str | Boards | Members, *,
         batch: int | None = None,
         optimizer: SGD | None = None, trainable: TrainableChoice | None = None,
         loss: str | None = None, label_smoothing: float | None = None,
         accumulate: int | None = None, input_range: Sequence[float] | None = None,
         mean: float | Sequence[float] | None = None,
         std: float | Sequence[float] | None = None, compiled: bool = True) -> Learner: ...
@overload
def load(path: str | os.PathLike[str], *, batch: int | None = None,
         optimizer: SGD | None = None, trainable: TrainableChoice | None = None,
         loss: str | None = None, label_smoothing: float | None = None,
         accumulate: int | None = None, input_range: Sequence[float] | None = None,
         mean: float | Sequence[float] | None = None,
         std: float | Sequence[float] | None = None, compiled: bool = True) -> Learner | Model: ...
def load(path: str | os.PathLike[str], board: str | Boards | Members | None = None, *,
         batch: int | None = None,
         optimizer: SGD | None = None, trainable: TrainableChoice | None = None,
         loss: str | None = None, label_smoothing: float | None = None,
         accumulate: int | None = None, input_range: Sequence[float] | None = None,
         mean: float | Sequence[float] | None = None,
         std: float | Sequence[float] | None = None, compiled: bool = True) -> Learner | Model:
    """Return what a file holds: a learner that goes on, or a model to begin with.

    ==================  ======================  ====================================
    file                written by              returned
    ==================  ======================  ====================================
    ``*.onnx``          any exporter            :class:`Model`, for ``Learner(model)``
    any other name      :meth:`Learner.save`    :class:`Learner`
    ==================  ======================  ====================================

    Type checkers know that a call with ``board=`` returns a learner. :meth:`Learner.load` and
    :func:`from_onnx` read one kind of file alone.

    Args:
        path: the file.
        board: where the learner goes on (default: ``golden``).
        batch, optimizer, trainable, loss, label_smoothing, accumulate, input_range, mean, std:
            others than the saved ones, see :meth:`Learner.load`.
        compiled: False: plan anew, also if the file holds compiled programs.

    Raises:
        BadInput: no such file, damaged, of another kind; or an option of learners with an ONNX
            file.
        MissingTool: an ONNX file, and the package ``onnx`` is not installed.
        UnsupportedModel: an ONNX file with operations that have no counterpart here.
    """
    given = {"board": board, "batch": batch, "optimizer": optimizer, "trainable": trainable,
             "loss": loss, "label_smoothing": label_smoothing, "accumulate": accumulate,
             "input_range": input_range, "mean": mean, "std": std,
             "compiled": None if compiled else False}
    options: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
    if not path_text(path, "model file").lower().endswith(".onnx"):
        return Learner.load(path, **options)
    images = {name: options.pop(name) for name in ("input_range", "mean", "std")
              if name in options}
    if options:
        name = next(iter(options))
        raise BadInput(f"load of an ONNX file with {name}={options[name]!r}",
                       expected="the path, and what its images are: the file is a model, not a "
                       "learner",
                       fix=f"use Learner(pynq_train.load(path), {name}=...)")
    return from_onnx(path, **images)
