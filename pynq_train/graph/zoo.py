"""Small reference networks by name."""

from __future__ import annotations

from collections.abc import Callable

from pynq_train.errors import UnknownName
from pynq_train.graph.graph import Graph, Sequential


def lenet5(classes: int = 10) -> Graph:
    """LeNet-5 with ReLU and max pooling, input 1x28x28 (61,706 parameters with 10 classes)."""
    return (
        Sequential((1, 28, 28), "lenet5")
        .conv(6, 5, padding=2).relu().pool()
        .conv(16, 5).relu().pool()
        .dense(120).relu()
        .dense(84).relu()
        .dense(classes)
        .build()
    )


def one_x(classes: int = 10) -> Graph:
    """The '1X' CNN, input 3x32x32: conv3x3 16-16-pool-32-32-pool-64-64-pool, dense."""
    net = Sequential((3, 32, 32), "1x")
    for channels in (16, 32, 64):
        net.conv(channels, 3, padding=1).relu().conv(channels, 3, padding=1).relu().pool()
    return net.dense(classes).build()


def digits(classes: int = 10) -> Graph:
    """The demo's CNN for 8x8 digits, input 1x8x8: conv3x3 16-pool-32-pool, dense."""
    return (
        Sequential((1, 8, 8), "digits")
        .conv(16, 3, padding=1).relu().pool()
        .conv(32, 3, padding=1).relu().pool()
        .dense(classes)
        .build()
    )


def vgg16(classes: int = 1000) -> Graph:
    """VGG-16, input 3x224x224: 13 convolutions 3x3, three dense layers."""
    net = Sequential((3, 224, 224), "vgg16")
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            net.conv(channels, 3, padding=1).relu()
        net.pool()
    return net.dense(4096).relu().dense(4096).relu().dense(classes).build()


_NETWORKS: dict[str, Callable[[int], Graph]] = {"lenet5": lenet5, "1x": one_x, "digits": digits,
                                                "vgg16": vgg16}


def names() -> tuple[str, ...]:
    """Return the names that :func:`get` knows."""
    return tuple(_NETWORKS)


def get(name: str, classes: int = 10) -> Graph:
    """Return the network ``name`` with ``classes`` logits; :class:`UnknownName` lists the names."""
    if name not in _NETWORKS:
        raise UnknownName.among("network", name, _NETWORKS)
    return _NETWORKS[name](classes)
