"""The compiler's front end: operations of a graph, grouped into the layers that the engine runs."""

from pynq_train.layers.fold import fold_batchnorm
from pynq_train.layers.fuse import FusedLayer, fuse
from pynq_train.layers.init import init_params

__all__ = ["FusedLayer", "fold_batchnorm", "fuse", "init_params"]
