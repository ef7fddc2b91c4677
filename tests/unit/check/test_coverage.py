"""What a program has is counted in the right bins."""

from __future__ import annotations

import pytest

from pynq_train.check import Coverage
from pynq_train.check.bins import PARTS
from pynq_train.check.options import Options
from pynq_train.graph import Graph
from pynq_train.graph.activation import Relu
from pynq_train.graph.graph import Sequential
from pynq_train.graph.ops import Add, BatchNorm, Concat, Conv, Dense, MaxPool
from pynq_train.graph.windows import Side
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.quant import Loss
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.specs.trainable import select

Hits = dict[tuple[str, str], dict[tuple[str, ...], int]]


def hits(graph: Graph, batch: int, trainable: str = "all") -> Hits:
    """Counts of the bins that a training step and an evaluation of a network fall into."""
    layers = fuse(graph)
    plan = make_plan(layers, batch, BOARDS["pynq-z2"], trainable=select(layers, trainable))
    coverage = Coverage()
    for build in (build_training, build_evaluation):
        coverage.add_program(build(plan), plan)
    found: Hits = {}
    for (group, cross, values), count in coverage.counts.items():
        if count:
            found.setdefault((group, cross), {})[values] = count
    return found


def normalised(channels: int = 10) -> Sequential:
    """A convolution and a normalisation with a ReLU, 10 channels on a map of 5 x 7."""
    return Sequential((3, 5, 7), "normalised").conv(channels, 3, padding=1, bias=False).norm()


def test_a_normalisation_and_its_mean() -> None:
    found = hits(normalised().relu().global_pool().dense(6).build(), 1)
    assert found["statistics", "channels mod 4"] == {("2",): 1}
    assert found["coefficients", "program"] == {("batch",): 1, ("evaluation",): 1}
    assert found["coefficients", "parts added up"] == {("1",): 2}
    assert found["point forward", "kind x activation"] == {("norm", "relu"): 2}
    assert found["point forward", "mean x part"] == {("mean", "whole"): 2}
    # An evaluation keeps no flags.
    assert found["point forward", "kind x flags"] == {("norm", "1"): 1, ("norm", "0"): 1}
    assert found["point forward", "flag row"] == {("whole and ragged",): 1}  # 35 pixels
    assert found["gradient sums", "mask"] == {("a",): 1}
    assert found["gradient coeff.", "program"] == {("batch",): 1}
    assert found["node", "masks"] == {("norm a",): 1, ("spread none",): 1}
    assert found["update", "of"] == {("gamma",): 1, ("beta",): 1, ("bias",): 1}
    assert found["update", "count mod 16"][("12",)] == 2  # 10 channels are three blocks
    assert found["softmax", "loss x gradient"] == {("cross-entropy", "1"): 1,
                                                   ("cross-entropy", "0"): 1}


def test_parts_of_the_mini_batch_and_frozen_statistics() -> None:
    ops = (Conv(8, 3, 1, 1, False, "a"), BatchNorm(), Relu("r"), Conv(8, 3, 1, 1, False, "b"),
           BatchNorm(name="n"), Add("sum", ("n", "r")), Relu("end"), Dense(3, name="logits"))
    found = hits(Graph.build((3, 6, 6), ops), 4)
    assert set(found["point forward", "kind x part"]) == {
        (kind, part) for kind in ("norm", "norm and add") for part in PARTS[1:]}
    # Of four images each is a part; the classifier, whose columns are the images, is not cut.
    counts = found["forward", "part of the mini-batch"]
    assert counts["first",] == counts["last",] > 0
    assert counts["between",] == 2 * counts["first",] and counts["whole",] >= 2
    frozen = hits(normalised().relu().dense(6).build(), 2, "last-layer")
    assert frozen["coefficients", "program"] == {("frozen",): 1, ("evaluation",): 1}
    assert ("gradient sums", "mask") not in frozen


def test_gradients_with_and_without_masks() -> None:
    """Of a map that only two sums read one gradient is masked first; the other in the sum."""
    ops = (Conv(8, 1, name="x"), Conv(8, 1, name="l", inputs=("input",)),
           Conv(8, 1, name="r", inputs=("input",)), Add("p", ("x", "l")), Relu("pr"),
           Add("q", ("x", "r")), Relu("qr", ("q",)), Add("both", ("pr", "qr")),
           Dense(3, name="logits"))
    found = hits(Graph.build((3, 4, 4), ops), 1)
    assert found["node", "masks"] == {("mask a",): 3, ("sum a",): 1}
    doubled = (Conv(8, 1, name="x"), Add("twice", ("x", "x")), Relu("end"), Dense(3, name="y"))
    assert hits(Graph.build((3, 4, 4), doubled), 1)["node", "masks"] == {("sum both",): 1}


def test_concatenations_have_gaps_between_images() -> None:
    ops = (Conv(8, 3, 1, 1, name="a"), Conv(4, 1, name="b", inputs=("input",)),
           Concat("join", ("a", "b")), Conv(6, 1, name="c"), Dense(3, name="logits"))
    found = hits(Graph.build((3, 4, 4), ops), 3)
    assert found["forward", "gaps between images"] == {("written",): 4, ("none",): 4}
    whole = hits(normalised().relu().dense(6).build(), 3)
    assert set(whole["forward", "gaps between images"]) == {("none",)}


@pytest.mark.parametrize(("kernel", "stride", "padding", "columns", "bins"), [
    (3, 2, 1, 6, {"rows: kernel / stride": ("3/2",), "columns: kernel / stride": ("3/2",),
                  "padding above x left": ("1", "1"),
                  "last word of indices": ("3",)}),
    ((1, 2), (2, 3), 0, 11, {
        "rows: kernel / stride": ("1/2",), "columns: kernel / stride": ("2/3",),
        "kernel: rows x columns": ("1", "2")}),
    (2, 3, 0, 11, {"rows: kernel / stride": ("2/3",), "padding above x left": ("0", "0"),
                   "last word of indices": ("4",)}),
])
def test_windows_of_pooling(kernel: Side, stride: Side, padding: int, columns: int,
                            bins: dict[str, tuple[str, ...]]) -> None:
    ops = (Conv(5, 1, name="a"), MaxPool(kernel, stride, padding, "pool"), Dense(3, name="logits"))
    found = hits(Graph.build((3, 6, columns), ops), 1)
    for cross, values in bins.items():
        assert found["pooling", cross] == {values: 2}
        assert found["unpooling", cross] == {values: 1}
    assert found["pooling", "indices kept"] == {("1",): 1, ("0",): 1}


def test_options_of_a_network() -> None:
    coverage = Coverage()
    layers = fuse(Sequential((1, 4, 4), "options").dense(3).build())

    def add(options: Options, batch: int, loss: Loss) -> None:
        coverage.add_options(options, make_plan(layers, batch, BOARDS["pynq-z2"], loss=loss))

    add(Options(0.9, True, "mse", 0.0, 2, 3), 4, Loss("mse", classes=3))
    add(Options(0.0, False, "cross-entropy", 0.1, 1, 3), 3, Loss("cross-entropy", 0.1, 3))
    add(Options(0.0, False, "cross-entropy", 0.1, 1, 3), 3,
        Loss("binary-cross-entropy", classes=3, weights=(1.0, 2.0, 1.0)))
    counted = {(cross, *values) for (group, cross, values), count in coverage.counts.items()
               if count}
    assert counted == {
        ("loss of the host x output", "weighted binary", "vector"),
        ("loss", "squared error"), ("momentum x Nesterov", "1", "1"),
        ("mini-batches of an update", "2"), ("incomplete mini-batch", "1"),
        ("loss", "smoothed"), ("momentum x Nesterov", "0", "0"),
        ("mini-batches of an update", "1"), ("incomplete mini-batch", "0")}


def test_every_role_has_bins() -> None:
    groups = {group for group, _, _ in Coverage().counts}
    assert groups == {"forward", "backward", "weight_gradient", "statistics", "coefficients",
                      "point forward", "gradient sums", "gradient coeff.", "node", "barrier",
                      "pooling", "unpooling", "update", "softmax", "step"}
    assert len(Role) == 16, "a new role needs a group"


def test_missing_bins_are_named_and_counts_add_up() -> None:
    empty, full = Coverage(), Coverage()
    assert "forward: rows: kernel x stride = 11, 4" in empty.missing()
    assert "node: masks = sum both" in empty.missing()
    assert empty.hit == 0 and len(empty.missing()) == empty.bins
    for key in full.counts:
        full.counts[key] = 2
    empty.merge(full)
    assert empty.missing() == [] and empty.hit == empty.bins
    lines = empty.table().splitlines()
    assert lines[0].split() == ["group", "cross", "hit", "bins", "fewest"]
    node = next(line for line in lines if line.startswith("node ") and "masks" in line)
    assert node.split() == ["node", "masks", "16", "16", "2"]
