"""What to compute: networks as frozen values and their shapes."""

from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.curves import (
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Sigmoid,
    Silu,
    Tanh,
)
from pynq_train.graph.graph import Graph, Sequential
from pynq_train.graph.model import Model
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    MaxPool2x2,
    Multiply,
    Op,
    PadChannels,
    Shape,
    Upsample,
)
from pynq_train.graph.params import LayerParams

__all__ = [
    "Add",
    "AvgPool",
    "BatchNorm",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "Elu",
    "Flatten",
    "Gelu",
    "GlobalAvgPool",
    "Graph",
    "HardSigmoid",
    "HardSwish",
    "LayerParams",
    "LeakyRelu",
    "MaxPool",
    "MaxPool2x2",
    "Model",
    "Multiply",
    "Op",
    "PadChannels",
    "Relu",
    "Relu6",
    "Sequential",
    "Shape",
    "Sigmoid",
    "Silu",
    "Tanh",
    "Upsample",
]
