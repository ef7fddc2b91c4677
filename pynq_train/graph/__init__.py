"""What to compute: networks as frozen values, their shapes, and the layers the engine runs."""

from pynq_train.graph.fold import fold_batchnorm
from pynq_train.graph.fuse import FusedLayer, fuse
from pynq_train.graph.graph import Graph, Sequential
from pynq_train.graph.init import LayerParams, init_params
from pynq_train.graph.model import Model
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    MaxPool2x2,
    Op,
    PadChannels,
    Relu,
    Relu6,
    Shape,
)

__all__ = [
    "Add",
    "AvgPool",
    "BatchNorm",
    "Concat",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "FusedLayer",
    "GlobalAvgPool",
    "Graph",
    "LayerParams",
    "MaxPool",
    "MaxPool2x2",
    "Model",
    "Op",
    "PadChannels",
    "Relu",
    "Relu6",
    "Sequential",
    "Shape",
    "fold_batchnorm",
    "fuse",
    "init_params",
]
