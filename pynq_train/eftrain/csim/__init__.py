"""C simulation of ``hls/``: the EF-Train kernel as g++ compiles it, by passes or as a trainer."""

from pynq_train.eftrain.csim.build import build, default_source
from pynq_train.eftrain.csim.kernel import Kernel
from pynq_train.eftrain.csim.network import KNOWN_ACTIVATIONS, EfNetwork

__all__ = ["KNOWN_ACTIVATIONS", "EfNetwork", "Kernel", "build", "default_source"]
