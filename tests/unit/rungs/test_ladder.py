"""Networks with adapters: what they compute, what learns, what is merged, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    GlobalAvgPool,
    Graph,
    LayerParams,
    MaxPool2x2,
    Model,
    Relu,
    Upsample,
)
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import fuse, init_params
from pynq_train.run.masters import Masters
from pynq_train.rungs.adapters import resolution
from pynq_train.rungs.blocks import Block, blocks_of
from pynq_train.schedule.specs.trainable import select

RESIDUAL = Graph.build((3, 8, 8), [
    Conv(8, 3, 1, 1, False, "stem"), BatchNorm(name="stem.bn"), Relu("stem.relu"),
    Conv(20, 3, 2, 1, False, "a"), BatchNorm(name="a.bn"), Relu("a.relu"),
    Conv(20, 3, 1, 1, False, "b"), BatchNorm(name="b.bn"),
    Conv(20, 1, 2, 0, False, "s", 1, ("stem.relu",)), BatchNorm(name="s.bn"),
    Add("sum", ("b.bn", "s.bn")), Relu("end"), GlobalAvgPool("pool"), Dense(5, name="fc")])
SERIES = Graph.build((1, 12, 12), [
    Conv(8, 3, 1, 1, name="c1"), Relu(name="r1"), MaxPool2x2(name="p1"),
    Conv(8, 3, 1, 1, name="dw", groups=8), Relu("rd"), Conv(32, 1, name="pw"), Relu("rp"),
    Conv(40, 3, 1, 1, name="c3"), Relu("r3"), MaxPool2x2(name="p3"), Dense(24, name="d1"),
    Relu("rx"), Dense(4, name="out")])
NETWORKS = {"residual": RESIDUAL, "series": SERIES}


def model(graph: Graph, rng: np.random.Generator) -> Model:
    """A model none of whose parameters is special."""
    params = {}
    for name, own in init_params(graph, 3).items():
        m = len(own.weight)
        if own.mean is None:
            params[name] = LayerParams(own.weight, None if own.bias is None else
                                       rng.normal(size=m).astype(np.float32) * 0.1)
        else:
            params[name] = LayerParams(*(rng.uniform(0.5, 1.5, m).astype(np.float32)
                                         for _ in range(4)))
    return Model(graph, params)


def images(graph: Graph, rng: np.random.Generator, count: int = 4) -> np.ndarray:
    return rng.normal(size=(count, *graph.input_shape)).astype(np.float32)


def logits(one: Model, x: np.ndarray) -> np.ndarray:
    return FloatTrainer(one.graph, one.params).logits(x)


def shaken(adapted: pt.rungs.Adapted, rng: np.random.Generator) -> Model:
    """A model as after a training: everything that learns is another."""
    layers = fuse(adapted.model.graph)
    chosen = {layer.name: own for layer, own in zip(layers, select(layers, adapted.trainable))}
    params = {}
    for name, own in adapted.model.params.items():
        parts = [own.weight, own.bias]
        for at, moves in enumerate((chosen[name].weights, chosen[name].bias)):
            if moves and parts[at] is not None:
                parts[at] = (parts[at] + rng.normal(size=parts[at].shape) * 0.05
                             ).astype(np.float32)
        params[name] = LayerParams(parts[0], parts[1])
    return Model(adapted.model.graph, params)


@pytest.mark.parametrize("rung", pt.RUNGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_they_begin_with_the_function_of_the_network(name: str, rung: str,
                                                     rng: np.random.Generator) -> None:
    own = model(NETWORKS[name], rng)
    x = images(own.graph, rng)
    adapted = pt.with_adapters(own, rung)
    np.testing.assert_allclose(logits(adapted.model, x), logits(own, x), rtol=1e-4, atol=1e-5)
    assert bool(adapted.note) == (name == "residual")
    assert not any(isinstance(op, BatchNorm) for op in adapted.model.graph.ops)
    # What learns says something: other values of it are another function.
    assert np.abs(logits(shaken(adapted, rng), x) - logits(own, x)).max() > 0.01
    heads = {"residual": "fc", "series": "out"}
    assert adapted.trainable[-1] == heads[name]


@pytest.mark.parametrize("rung", ["lora", "sparse"])
@pytest.mark.parametrize("name", NETWORKS)
def test_merged_they_are_the_network_with_other_weights(name: str, rung: str,
                                                        rng: np.random.Generator) -> None:
    own = model(NETWORKS[name], rng)
    x = images(own.graph, rng)
    learnt = shaken(pt.with_adapters(own, rung), rng)
    merged = pt.merge(learnt)
    np.testing.assert_allclose(logits(merged, x), logits(learnt, x), rtol=1e-4, atol=1e-5)
    plain = pt.fold_batchnorm(own)
    assert merged.graph == plain.graph


@pytest.mark.parametrize("rung", ["skip-lora", "da3", "lite-residual"])
def test_what_cannot_be_merged(rung: str, rng: np.random.Generator) -> None:
    with pytest.raises(BadInput, match=r"merge of 'network': expected low-rank pairs beside"):
        pt.merge(pt.with_adapters(model(SERIES, rng), rung).model)


def names(adapted: pt.rungs.Adapted) -> set[str]:
    return {op.name for op in adapted.model.graph.ops}


def test_low_rank_pairs(rng: np.random.Generator) -> None:
    """Depthwise layers, layers that a pair would enlarge and the classifier have none."""
    adapted = pt.with_adapters(model(SERIES, rng), "lora", rank=4)
    assert {name for name in names(adapted) if name.endswith(".lora")} == {
        "c1.lora", "pw.lora", "c3.lora", "d1.lora"}
    ops = {op.name: op for op in adapted.model.graph.ops}
    assert ops["c3.lora_a"] == Conv(4, 3, 1, 1, False, "c3.lora_a", 1, ("rp",))
    assert ops["c3.lora"].inputs == ("c3", "c3.lora_b") and ops["r3"].inputs in ((), ("c3.lora",))
    assert not adapted.model.params["c3.lora_b"].weight.any()
    assert {one for one in adapted.trainable if one.endswith(".bias")} == {
        f"{op.name}.bias" for op in SERIES.ops if getattr(op, "bias", False)} - {"out.bias"}
    spread = adapted.model.params["c3.lora_a"].weight.std()
    assert spread == pytest.approx(1 / np.sqrt(32 * 9), rel=0.1)
    wide = pt.with_adapters(model(SERIES, rng), "lora", rank=7)
    assert {name for name in names(wide) if name.endswith(".lora")} == {"c3.lora", "d1.lora"}
    other = pt.with_adapters(model(SERIES, rng), "lora", seed=1).model
    assert not np.array_equal(other.params["c3.lora_a"].weight,
                              adapted.model.params["c3.lora_a"].weight)


def test_pairs_to_the_logits(rng: np.random.Generator) -> None:
    adapted = pt.with_adapters(model(SERIES, rng), "skip-lora", rank=3)
    assert adapted.trainable == ("p1.skip_a", "rp.skip_a", "skip_b", "out")
    ops = {op.name: op for op in adapted.model.graph.ops}
    assert ops["p1.skip_a"].units == 4  # a whole channel block
    assert ops["skip_features"] == Concat("skip_features", ("p1.skip_a", "rp.skip_a"))
    assert adapted.model.graph.ops[-1] == Add("skip_logits", ("out", "skip_b"))


def test_pairs_are_spread_over_the_blocks() -> None:
    """Four of a deep network's, the last one always; as many as are asked for."""
    def read(count: int | None) -> list[str]:
        adapted = pt.with_adapters(pt.zoo.get("mobilenet_v1_025"), "skip-lora", blocks=count)
        return [name.split(".")[0] for name in adapted.trainable if name.endswith(".skip_a")]

    assert read(None) == ["pw3", "pw6", "pw9", "pw12"]
    assert read(1) == ["pw12"] and read(2) == ["pw6", "pw12"]
    assert read(99) == ["conv1", *(f"pw{number}" for number in range(1, 13))]


def test_branches(rng: np.random.Generator) -> None:
    adapted = pt.with_adapters(model(RESIDUAL, rng), "da3", blocks=2)
    ops = {op.name: op for op in adapted.model.graph.ops}
    assert adapted.trainable == ("stem.relu.da3_a", "stem.relu.da3_b", "end.da3_a", "end.da3_b",
                                 "fc")
    assert isinstance(ops["stem.relu.da3_pool"], AvgPool)
    assert ops["stem.relu.da3_up"].factor == 2
    assert ops["end.da3_a"] == Conv(16, 3, 2, 1, True, "end.da3_a")
    # The second branch reads what the first one has added to.
    assert ops["end.da3_pool"].inputs == ("stem.relu.da3",)
    lite = pt.with_adapters(model(RESIDUAL, rng), "lite-residual", blocks=9)
    assert {op.groups for op in lite.model.graph.ops if isinstance(op, Conv)
            and op.name.endswith("lite_a")} == {1, 2}
    assert set(lite.trainable) >= {"stem.bias", "a.bias", "b.bias", "s.bias"}


def test_a_third_of_the_blocks_have_branches(rng: np.random.Generator) -> None:
    """The last ones; biases in front of them stay, so nothing runs backward there."""
    da3, lite = (pt.with_adapters(model(RESIDUAL, rng), rung) for rung in ("da3", "lite-residual"))
    assert da3.trainable == ("end.da3_a", "end.da3_b", "fc")
    assert set(lite.trainable) == {"end.lite_a", "end.lite_b", "a.bias", "b.bias", "s.bias", "fc"}
    series = pt.with_adapters(model(SERIES, rng), "da3")
    assert series.trainable == ("p3.da3_r", "p3.da3_a", "p3.da3_b", "out")
    ops = {op.name: op for op in series.model.graph.ops}
    assert ops["p3.da3_r"] == Conv(16, 1, 1, 0, False, "p3.da3_r")
    assert ops["p3.da3_a"].out_channels == 16 and ops["p3.da3_a"].kernel == 3
    names = pt.with_adapters(pt.zoo.get("resnet20"), "da3").trainable
    assert [name for name in names if name.endswith("_a")] == [
        "c0.relu2.da3_a", "c1.relu2.da3_a", "c2.relu2.da3_a"]
    with pytest.raises(BadInput, match="blocks"):
        pt.with_adapters(model(SERIES, rng), "da3", blocks=0)


@pytest.mark.parametrize(("rung", "groups"), [("da3", 1), ("lite-residual", 2)])
def test_a_branch_of_one_pixel_has_no_weights_for_padding(rung: str, groups: int,
                                                         rng: np.random.Generator) -> None:
    graph = Graph.build((20, 2, 2), [Conv(20, 3, 1, 1, name="c"), Relu("r"), Dense(3, name="d")])
    ops = {op.name: op for op in pt.with_adapters(model(graph, rng), rung).model.graph.ops}
    ending = "da3" if rung == "da3" else "lite"
    own = ops[f"r.{ending}_a"]
    assert (own.kernel, own.padding, own.groups) == (1, 0, groups) and f"r.{ending}_r" not in ops
    assert own.out_channels == (16 if rung == "da3" else 20)


@pytest.mark.parametrize(("shape", "out", "way"), [
    ((8, 8, 8), (8, 8, 8), (2, 1, 2)), ((8, 8, 8), (8, 4, 4), (2, 2, 2)),
    ((8, 6, 6), (8, 3, 3), (2, 1, 1)), ((8, 7, 7), (8, 7, 7), (1, 1, 1)),
    ((8, 7, 7), (8, 4, 4), (1, 4, 2)), ((8, 8, 8), (8, 7, 7), None),
    ((8, 28, 28), (8, 24, 24), None), ((8, 1, 1), (8, 1, 1), (1, 1, 1))])
def test_sizes_of_branches(shape: tuple[int, int, int], out: tuple[int, int, int],
                           way: tuple[int, int, int] | None) -> None:
    assert resolution(shape, out) == way
    if way is None:
        return
    pool, stride, factor = way
    ops = [*([AvgPool(pool, pool)] if pool > 1 else []), Conv(8, 3, stride, 1),
           *([Upsample(factor)] if factor > 1 else []), Dense(2)]
    assert Graph.build(shape, ops).in_shapes[-2][0] == out


def test_tiles_that_learn_alone(rng: np.random.Generator) -> None:
    own = model(SERIES, rng)
    own.params["c3"].weight[16:32] *= 2
    adapted = pt.with_adapters(own, "sparse")
    assert "c3.part1" in adapted.trainable and "c3.part0" not in adapted.trainable
    assert np.array_equal(adapted.model.params["c3.part1"].weight, own.params["c3"].weight[16:32])
    assert len(adapted.model.params["c3.part2"].weight) == 8
    ops = {op.name: op for op in adapted.model.graph.ops}
    assert ops["c3"] == Concat("c3", ("c3.part0", "c3.part1", "c3.part2"))
    assert {"c3.part0.bias", "d1.bias"} <= set(adapted.trainable)
    assert "c1.bias" not in adapted.trainable


def test_blocks() -> None:
    assert blocks_of(RESIDUAL) == (Block("input", "stem.relu"), Block("stem.relu", "end"))
    assert blocks_of(SERIES) == (Block("input", "p1"), Block("p1", "rp"), Block("rp", "p3"))
    found = blocks_of(pt.zoo.get("resnet20"))
    assert len(found) == 10 and found[4] == Block("a2.relu2", "b0.relu2")
    assert len(blocks_of(pt.zoo.get("mobilenet_v1_025"))) == 14
    assert blocks_of(Graph.build((1, 4, 4), [Dense(4), Relu(), Dense(2)])) == ()


def test_normalisations_that_cannot_be_folded_keep_their_statistics(
        rng: np.random.Generator) -> None:
    graph = Graph.build((2, 8, 8), [
        Conv(6, 3, 1, 1, name="a"), BatchNorm(name="n"), Relu("r"), Conv(6, 3, 1, 1, name="b"),
        Add("sum", ("b", "r")), BatchNorm(name="late"), Relu(), Dense(3, name="out")])
    own = model(graph, rng)
    adapted = pt.with_adapters(own, "lora")
    assert adapted.note == "normalisations keep and use their running statistics"
    assert all(op.frozen for op in adapted.model.graph.ops if isinstance(op, BatchNorm))
    ops = {op.name: op for op in adapted.model.graph.ops}
    assert ops["n"].inputs in ((), ("a.lora",))
    x = images(graph, rng)
    np.testing.assert_allclose(logits(adapted.model, x), logits(own, x), rtol=1e-4, atol=1e-5)
    with pt.Learner(own, trainable="lora", batch=2) as learner:
        learner.fit(x, np.array([0, 1, 2, 0]), progress=False)
        before = adapted.model.params
        for name in ("a", "b", "n", "late"):
            assert np.array_equal(learner.masters[name].weight,
                                  Masters.of(before[name]).weight)


def test_what_is_refused(rng: np.random.Generator) -> None:
    own = model(SERIES, rng)
    with pytest.raises(UnknownName, match="rung"):
        pt.with_adapters(own, "lola")
    with pytest.raises(BadInput, match="rank"):
        pt.with_adapters(own, "lora", rank=0)
    with pytest.raises(BadInput, match="expected a Model or a Graph, found str"):
        pt.with_adapters("digits", "lora")
    for rung in pt.RUNGS:
        with pytest.raises(BadInput, match=r"'network': expected one without adapters, found .*"
                           r"(_a|part0).*; merge them first"):
            pt.with_adapters(pt.with_adapters(own, rung).model, "lora")
    taken = Graph.build((1, 4, 4), [Dense(20, name="a"), Relu("a.lora"), Dense(3)])
    with pytest.raises(BadInput, match=r"an adapter's name 'a\.lora': expected one that is free"):
        pt.with_adapters(taken, "lora")
    dense = Graph.build((1, 2, 2), [Dense(4, name="a"), Relu(), Dense(3)])
    for rung, fix in (("lora", "last-layer"), ("skip-lora", "last-layer"),
                      ("da3", "lora"), ("sparse", "last-block")):
        with pytest.raises(BadInput, match=f"trainable='{rung}'.*use trainable='{fix}'"):
            pt.with_adapters(dense, rung)


@pytest.mark.parametrize("rung", pt.RUNGS)
def test_training_follows_float32(rung: str, rng: np.random.Generator) -> None:
    """A learner adapts as float32 does, and leaves the rest as it is, bit for bit."""
    own = model(SERIES, rng)
    y = rng.integers(0, 4, 64)
    x = images(SERIES, rng, 64) * 0.3
    for image, label in zip(x, y):
        image[:, :, 3 * label:3 * label + 3] += 1
    adapted = pt.with_adapters(own, rung)
    with pt.Learner(own, trainable=rung, batch=8, optimizer=pt.SGD(lr=0.02)) as learner:
        assert learner.trainable == adapted.trainable and learner.graph == adapted.model.graph
        learner.calibrate(x[:8])
        before = learner.masters
        history = learner.fit(x, y, epochs=2, progress=False)
        after = learner.masters
    twin = pt.fit_float(SERIES, x, y, epochs=2, batch=8, optimizer=pt.SGD(lr=0.02),
                        params=own.params, trainable=rung)
    np.testing.assert_allclose(history.batch_losses, twin.batch_losses, atol=0.04)
    layers = fuse(adapted.model.graph)
    chosen = {layer.name: own for layer, own in zip(layers, select(layers, adapted.trainable))}
    for name, masters in after.items():
        moved = not np.array_equal(masters.weight, before[name].weight)
        assert moved == chosen[name].weights, name
        if masters.bias is not None:
            assert chosen[name].bias or np.array_equal(masters.bias, before[name].bias)
