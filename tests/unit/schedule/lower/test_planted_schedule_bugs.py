"""Planted bugs of the scheduler, each caught by a check that stands elsewhere (docs/testing.md)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from reference_models.engine_model import Violation
from test_conv import Bench, backward, forward, weight_gradient

from pynq_train.graph.activation import Relu
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Conv, Dense
from pynq_train.hw.config import ZYNQ7020
from pynq_train.layers.fuse import fuse
from pynq_train.schedule.lower import conv as lower
from pynq_train.schedule.passes.geometry import (
    PassShape,
    Tile,
    TiledPass,
    backward_shapes,
    forward_shape,
    weight_gradient_shape,
)
from pynq_train.schedule.specs.spec import LayerSpec, layer_specs


def layer() -> LayerSpec:
    """A 3x3 convolution of 7x7 maps, second in its network."""
    layers = fuse(Graph.build((2, 7, 7), [Conv(5, 1), Relu(), Conv(6, 3, 1, 1), Relu(), Dense(3)]))
    return layer_specs(layers, 2)[1]


def tile(shape: PassShape) -> TiledPass:
    """Half of the rows: groups of three pixels cross rows and images."""
    tiled = TiledPass(shape, Tile(shape.images, 4, shape.cols, 1))
    assert tiled.excess(ZYNQ7020) is None
    return tiled


def run_forward() -> None:
    forward(Bench(layer(), np.random.default_rng(1)), tile(forward_shape(layer())), ZYNQ7020)


def run_backward() -> None:
    backward(Bench(layer(), np.random.default_rng(1)),
             [tile(shape) for shape in backward_shapes(layer())], ZYNQ7020)


def run_weight_gradient() -> None:
    weight_gradient(Bench(layer(), np.random.default_rng(1)),
                    [tile(weight_gradient_shape(layer()))], ZYNQ7020)


RUNS = {"forward": run_forward, "backward": run_backward, "weight gradient": run_weight_gradient}


@pytest.mark.parametrize("name", RUNS)
def test_the_cases_are_right_without_a_bug(name: str) -> None:
    RUNS[name]()


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_tap_flip_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of tap (kr, kc) where those of (2 - kr, 2 - kc) belong: the memory image differs."""
    right = lower._taps

    def flipped(geo: TiledPass) -> lower.Taps:
        taps = right(geo)
        return tuple({**tap, "woff": other["woff"]} for tap, other in zip(taps, reversed(taps)))

    monkeypatch.setattr(lower, "_taps", flipped)
    with pytest.raises(AssertionError, match=f"{name}: [0-9]+ bytes differ"):
        RUNS[name]()


def _natural_rows(geo: TiledPass) -> int:
    return geo.x_cols


def _natural_images(geo: TiledPass) -> int:
    return geo.x_rows * geo.row_pitch


@pytest.mark.parametrize("name", ["forward", "backward"])
@pytest.mark.parametrize(("pitch", "natural"), [("row_pitch", _natural_rows),
                                                ("image_pitch", _natural_images)])
def test_bank_pitch_is_caught(name: str, pitch: str, natural: Callable[[TiledPass], int],
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """A pitch that is just the size: groups that cross rows or images meet in one bank."""
    monkeypatch.setattr(TiledPass, pitch, property(natural))
    with pytest.raises(Violation, match="bank conflict in table row"):
        RUNS[name]()


def test_a_missing_block_of_the_reduction_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """6 output channels are two channel blocks: one of them would leave gradients out."""
    right = LayerSpec.filled_blocks
    assert right.fget is not None and right.fget(layer()) == 2
    monkeypatch.setattr(LayerSpec, "filled_blocks", property(lambda spec: 1))
    with pytest.raises(AssertionError, match=r"backward: [0-9]+ bytes differ"):
        run_backward()
