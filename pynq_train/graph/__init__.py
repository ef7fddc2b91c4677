"""What to compute: networks as frozen values, their shapes, and the layers the engine runs."""

from pynq_train.graph.fuse import FusedLayer, fuse
from pynq_train.graph.graph import Graph, Sequential
from pynq_train.graph.init import LayerParams, init_params
from pynq_train.graph.ops import Conv, Dense, Flatten, MaxPool2x2, Op, Relu, Shape

__all__ = [
    "Conv",
    "Dense",
    "Flatten",
    "FusedLayer",
    "Graph",
    "LayerParams",
    "MaxPool2x2",
    "Op",
    "Relu",
    "Sequential",
    "Shape",
    "fuse",
    "init_params",
]
