"""Small networks that together hold every operation, and parameters that are not special."""

from __future__ import annotations

import numpy as np

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
    LayerParams,
    LeakyRelu,
    MaxPool,
    MaxPool2x2,
    Multiply,
    Op,
    PadChannels,
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    Tanh,
    Upsample,
)
from pynq_train.layers import init_params

_LAYERS: dict[str, tuple[tuple[int, int, int], list[Op]]] = {
    "norm": ((2, 6, 5), [Conv(4, 3, padding=1, bias=False), BatchNorm(), Relu(), Dense(3),
                         BatchNorm(0.3, 0.01)]),
    "frozen": ((2, 6, 5), [Conv(4, 3), BatchNorm(frozen=True), Relu(), Dense(3)]),
    "residual": ((3, 6, 6), [Conv(4, 3, padding=1, name="a"), Relu(name="r"),
                             Conv(4, 3, padding=1), BatchNorm(name="b"), Add(inputs=("b", "r")),
                             Relu(name="out"), Conv(6, 1, 2, name="p"),
                             Conv(6, 3, 2, 1, inputs=("out",), name="q"), Add(inputs=("q", "p")),
                             GlobalAvgPool(), Dense(3)]),
    "twice": ((2, 4, 4), [Conv(3, 3, padding=1, name="a"), Add(inputs=("a", "a")), Relu(),
                          Dense(3)]),
    "concat": ((2, 6, 6), [Conv(3, 3, padding=1, name="a"), Conv(2, 1, inputs=("input",)),
                           Relu(name="b"), MaxPool(3, 1, 1, inputs=("a",), name="c"),
                           Concat(inputs=("b", "c", "input")), Dense(3)]),
    "shortcut": ((2, 7, 6), [
        Conv(4, 3, padding=1, name="a"), Relu(name="r"), AvgPool(1, 2, name="s"),
        PadChannels(3, 1, "p"), Conv(8, 3, 2, 1, name="b", inputs=("r",)),
        Add(inputs=("b", "p")), Relu(), Dense(3)]),
    "pools": ((2, 9, 8), [Conv(4, 3, padding=1), MaxPool(3, 2, 1), AvgPool(3, 2, 1), Relu(),
                          AvgPool(2, 1, "same"), MaxPool2x2(), Dense(3)]),
    "depthwise": ((3, 7, 8), [Conv(4, 3, 2, "same"), Relu6(), Conv(4, 3, 1, 1, groups=4), Relu6(),
                              Conv(4, 3, 2, 1, False, groups=4), Conv(6, 1), Dense(3)]),
    "groups": ((4, 6, 6), [Conv(8, 3, 1, 1, groups=4), Relu(), Conv(6, 3, 2, "same", groups=2),
                           Dense(3)]),
    "multiplied": ((3, 7, 7), [Conv(6, 3, 1, 1, groups=3), Relu(), Conv(15, 3, 2, 1, groups=3),
                               BatchNorm(), Relu(), Conv(20, 1, groups=5), Dense(3)]),
    "dropout": ((2, 5, 5), [Conv(6, 3), Relu(), Dropout(0.4), Dense(6), Dropout(0.25), Dense(3)]),
    "flat dropout": ((2, 5, 5), [Conv(6, 3), Flatten(), Dropout(0.4), Relu(), Dropout(0.1),
                                 Dense(3)]),
    "upsampled": ((2, 5, 6), [
        Conv(4, 3, padding=1, name="a"), AvgPool(2, 2, "same"), Conv(4, 3, 1, 1, groups=4), Relu(),
        Upsample(2, "u"), Relu(), AvgPool(2, 1), Conv(3, 2, 2, name="p"), Upsample(3),
        MaxPool(3, 2), Dense(3)]),
    "transposed": ((2, 4, 5), [
        Conv(6, 3, padding=1), Relu(), ConvTranspose(5, 3, 2, 1, 1, name="up"), Relu(),
        ConvTranspose(4, (2, 4), (1, 3), ((1, 0), (0, 2)), (0, 1), bias=False), BatchNorm(),
        AvgPool((1, 3), (1, 3)), ConvTranspose(4, 2, 3, "same", groups=2), Relu6(),
        MaxPool2x2(), ConvTranspose(4, 3, 2, "same", groups=4), AvgPool(2, 2), Dense(3)]),
    "bilinear": ((2, 3, 4), [
        Conv(5, 3, padding=1), Upsample(2, mode="bilinear"), Relu(), Conv(4, 3, 2, 1, name="p"),
        Upsample(3, mode="bilinear"), Conv(4, 3, 3), Upsample(4, mode="bilinear"), AvgPool(4, 4),
        Upsample(3, mode="bilinear", corners=True), Dense(3)]),
    "rectangles": ((2, 9, 7), [
        Conv(4, (4, 3), (2, 1), ((1, 2), (2, 0))), Relu(), Conv(6, (1, 3), (1, 2), "same"),
        BatchNorm(), Relu(), Conv(6, (3, 1), (1, 3), ((0, 2), 0), groups=6),
        Conv(4, (2, 5), 1, (1, (4, 1)), groups=2), Dense(3)]),
    "dilated": ((3, 11, 10), [
        Conv(5, 3, 1, 2, dilation=2), Relu(),
        Conv(5, 3, 2, "same", False, groups=5, dilation=(2, 1)), BatchNorm(),
        Relu(), Conv(6, (2, 3), 1, ((3, 1), (0, 4)), dilation=(4, 3)), Relu(),
        Conv(4, (3, 1), 1, (2, 0), groups=2, dilation=(2, 1)), Dense(3)]),
    "rectangular pools": ((2, 9, 8), [
        Conv(4, 3, padding=1), MaxPool((3, 2), (1, 2), ((1, 2), (0, 1))), Relu(),
        AvgPool((1, 3), (2, 1), (0, 1)), MaxPool((1, 2), 1), MaxPool((2, 1), (3, 1)), Dense(3)]),
    "curves": ((2, 6, 6), [
        Conv(4, 3), LeakyRelu(0.2), Conv(4, 3, padding=1), Elu(1.5), Conv(4, 1), HardSwish(),
        Conv(4, 1), Silu(), Conv(4, 1), Gelu(), Gelu(True), Flatten(), HardSigmoid(), Dense(5),
        Tanh(), Dense(5), Sigmoid(), Dense(3)]),
    "gates": ((2, 6, 6), [
        Conv(4, 3, name="a"), GlobalAvgPool("m"), Dense(3), Relu(), Dense(4), Sigmoid(name="s"),
        Multiply(inputs=("s", "a"), name="t"), Conv(4, 1), Tanh(name="u"),
        Multiply(inputs=("t", "u"), name="v"), Multiply(inputs=("v", "v")), Dense(3)]),
    "line": ((3, 1, 23), [Conv(4, (1, 9), (1, 2), (0, 4)), BatchNorm(), Relu(),
                          MaxPool((1, 3), (1, 2)), Conv(6, (1, 3)), Relu(), GlobalAvgPool(),
                          Dense(3)]),
    "group norms": ((4, 5, 4), [
        GroupNorm(2), Conv(8, 3, padding=1, name="a"), GroupNorm(2, 0.1), Relu("b"),
        Conv(8, 1), GroupNorm(8, name="c"), Add(inputs=("b", "c")), GroupNorm(1, affine=False),
        Relu(), GlobalAvgPool(), Dense(8), GroupNorm(4), Relu(), Dense(3)]),
    "map of logits": ((2, 4, 4), [Conv(2, 3)]),
}

NETWORKS = {name: Graph.build(shape, layers, name) for name, (shape, layers) in _LAYERS.items()}


def random_params(graph: Graph, rng: np.random.Generator) -> dict[str, LayerParams]:
    """Parameters in which every bias, gamma and statistic differs from its start."""
    params = {}
    for name, p in init_params(graph, 5).items():
        m = len(p.weight if p.bias is None else p.bias)
        norm = p.mean is not None
        gamma = p.weight.ndim == 1
        weight = rng.uniform(0.5, 1.5, m) * rng.choice([-1, 1], m) if gamma else p.weight * 2
        params[name] = LayerParams(
            np.float32(weight), None if p.bias is None else np.float32(rng.normal(size=m) * 0.3),
            np.float32(rng.normal(size=m) * 0.2) if norm else None,
            np.float32(rng.uniform(0.5, 2, m)) if norm else None)
    return params


def batch(graph: Graph, rng: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels."""
    x = rng.normal(size=(images, *graph.input_shape)).astype(np.float32) * 2
    return x, rng.integers(0, graph.classes, images)
