"""Benchmarks: cycles of networks counted by the RTL on a virtual board, beside predicted ones."""

from pynq_train.bench.layers import bench_layers
from pynq_train.bench.result import Result, Row
from pynq_train.bench.rtl import DEFAULT_LATENCY, Counts, PassCount, Rtl
from pynq_train.bench.step import bench_layer_list, bench_step

__all__ = ["DEFAULT_LATENCY", "Counts", "PassCount", "Result", "Row", "Rtl", "bench_layer_list",
           "bench_layers", "bench_step"]
