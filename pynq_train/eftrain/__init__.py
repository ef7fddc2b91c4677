"""EF-Train (Tang et al., TODAES 2022) as the baseline: cycle model, search, and its kernel in C++.

The model restates the paper's equations; ``docs/eftrain.md`` says which and with what result. The
kernel is ours, written for Vitis HLS (``hls/``); here it is compiled by g++ and trains networks.
Names are the paper's: FP, BP and WU for forward, backward and weight update; IFM, OFM and WEI for
the buffers of input map, output map and weights; "loss" for the gradient of the loss by a feature
map.
"""

from pynq_train.eftrain.chips import CHIPS, FIXED16, FP32, Chip, DataType, chip_of
from pynq_train.eftrain.design import Design
from pynq_train.eftrain.latency import PASSES, ConvShape, EfPass, EfTile, Timing, latency
from pynq_train.eftrain.predict import EfLayer, EfPrediction, conv_shape, predict_layers
from pynq_train.eftrain.resources import EfResources, resources
from pynq_train.eftrain.search import search

__all__ = ["CHIPS", "FIXED16", "FP32", "PASSES", "Chip", "ConvShape", "DataType", "Design",
           "EfLayer", "EfPass", "EfPrediction", "EfResources", "EfTile", "Timing", "chip_of",
           "conv_shape", "latency", "predict_layers", "resources", "search"]
