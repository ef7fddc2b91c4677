"""Dropout on golden: float32 with the same masks, statistics of masks, where it applies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check.verify import verify
from pynq_train.errors import BadInput
from pynq_train.fixed import keep_map
from pynq_train.graph import Dropout, Flatten, Graph, MaxPool2x2, Relu, Relu6, ops
from pynq_train.graph.reference import FloatTrainer
from pynq_train.hw.commands import DESCRIPTOR_BYTES, Opcode, unpack_descriptor
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.session import Session
from pynq_train.schedule.lower.program import ProgramImage

BATCH, SEED = 16, 7
Data = tuple[np.ndarray, np.ndarray]
Conv, Dense = ops.Conv, ops.Dense

MLP = Graph.build((2, 6, 6), [
    Dropout(0.2, "in"), Flatten(), Dense(20, name="a"), Relu(), Dropout(0.5, "b"), Dense(12),
    Dropout(0.3, "c"), Relu(), Dense(4, name="logits")], "mlp")
CNN = Graph.build((2, 8, 8), [
    Conv(10, 3, 1, 1), Relu(), MaxPool2x2(), Dropout(0.25, "map"), Conv(8, 3, 1, 1),
    ops.BatchNorm(), Relu(), Dropout(0.0, "none"), Dropout(0.4, "normed"), Flatten(),
    Dropout(0.5, "flat"), Dense(16), Relu(), Dropout(0.5, "units"), Dense(4, name="logits")], "cnn")
RESIDUAL = Graph.build((2, 6, 6), [
    Conv(8, 3, 1, 1), Relu(name="r"), Conv(8, 3, 1, 1), ops.BatchNorm(), Dropout(0.3, "d"),
    ops.Add(inputs=("d", "r")), Relu6(name="s"), Dropout(0.2, "e"),
    Conv(8, 1, inputs=("s",), name="other"), ops.Add(inputs=("e", "other")),
    ops.GlobalAvgPool(), Dropout(0.1, "pooled"), Dense(4, name="logits")], "residual")
NETS = {graph.name: graph for graph in (MLP, CNN, RESIDUAL)}


def data_of(graph: Graph, count: int = 6 * BATCH) -> Data:
    """Images of four classes that differ in their means."""
    draw = np.random.default_rng(5)
    y = draw.integers(0, 4, count)
    shape = graph.input_shape
    x = draw.standard_normal((count, *shape)) + draw.standard_normal((4, *shape))[y]
    return x.astype(np.float32), y


def opened(graph: Graph, batch: int = BATCH, **more: object) -> Session:
    """A calibrated session, and weights that are those of the seed."""
    learner = pt.Learner(graph, optimizer=pt.SGD(lr=0.05, momentum=0.9), batch=batch, seed=SEED,
                         **more)  # type: ignore[arg-type]
    session = learner._open()
    session.policy.input_k = 3
    x, y = data_of(graph, batch)
    session.calibrate(x, y)
    return session


def kept(session: Session, name: str) -> np.ndarray:
    """The keep flags that the last step wrote, as ``keep_map`` has them."""
    spec = next(spec for spec in session.plan.specs if spec.name == name)
    assert spec.flags is not None
    words = session._get(f"{name}.flags", np.uint8)
    bits = np.unpackbits(words.reshape(spec.flags.images, spec.flags.blocks, -1), axis=-1,
                         bitorder="little")
    bits = bits.reshape(*bits.shape[:2], -1, 4)[:, :, : spec.words].astype(bool)
    if spec.dense:  # [block][image] of one "image"
        lanes = bits[0].transpose(1, 0, 2)[:, :, :, None, None]
    else:
        lanes = bits.transpose(0, 1, 3, 2).reshape(*bits.shape[:2], 4, spec.x.rows, spec.x.cols)
    whole: np.ndarray = lanes.reshape(len(lanes), -1, *lanes.shape[3:])[:, : spec.m]
    return whole


def step(session: Session, graph: Graph, number: int, batch: int = BATCH) -> float:
    """One training step on the first images; its mean loss."""
    x, y = data_of(graph, batch)
    return session.train_step(x, y, SgdStep(0.05, 0.9, seed=SEED, step=number)).loss_sum / batch


@pytest.mark.parametrize("name", list(NETS))
def test_training_follows_float32_with_the_same_masks(name: str) -> None:
    graph = NETS[name]
    session, (x, y) = opened(graph), data_of(graph)
    start = init_params(graph, SEED)
    reference = FloatTrainer(graph, start, lr=0.05, momentum=0.9, seed=SEED)
    for number, begin in enumerate(range(0, len(y), BATCH)):
        part = x[begin:begin + BATCH], y[begin:begin + BATCH]
        said = session.train_step(*part, SgdStep(0.05, 0.9, seed=SEED, step=number))
        # A unit whose value rounds to 0 passes no gradient: that may happen once in a while.
        assert abs(said.loss_sum / BATCH - reference.step(*part).loss) < 1e-2
    for layer, wanted in reference.params.items():
        mine = session.read_masters()[layer].params()
        moved = np.abs(wanted.weight - start[layer].weight).max()
        assert np.abs(mine.weight - wanted.weight).max() <= 0.1 * moved + 1e-4, layer
    _, logits = session.evaluate(*part)
    wanted_logits = reference.logits(part[0])
    assert np.abs(logits - wanted_logits).max() < 0.02 * np.abs(wanted_logits).max()


def test_other_masks_are_far_from_float32() -> None:
    """The comparison above can fail: the masks of another step, tensor or seed do not fit."""
    reference = FloatTrainer(MLP, init_params(MLP, SEED), seed=SEED)
    wanted = reference.gradients(*data_of(MLP, BATCH))[0].loss
    assert abs(step(opened(MLP), MLP, 0) - wanted) < 2e-3
    assert abs(step(opened(MLP), MLP, 1) - wanted) > 2e-2


def test_flags_are_the_counter_hash() -> None:
    for batch in (3, BATCH):  # another mini-batch, other parts: the same masks for an image
        session = opened(CNN, batch)
        step(session, CNN, 5, batch)
        for layer in session.plan.layers:
            if layer.drop is not None:
                shape = layer.in_shape
                wanted = keep_map(layer.drop.rate, SEED, 5, layer.drop.place, (batch, *shape))
                assert np.array_equal(kept(session, layer.name), wanted), layer.name
                assert CNN.ops[layer.drop.place].name == layer.name


def test_masks_are_independent_of_each_other() -> None:
    """Mean within 5 sigma; steps, layers, images, channels and pixels are uncorrelated."""
    graph = Graph.build((4, 12, 12), [Conv(16, 1, name="c"), Dropout(0.5, "one"),
                                      Dropout(0.5, "two"), Dense(4, name="logits")], "two")
    session = opened(graph)
    masks = []
    for number in range(3):
        step(session, graph, number)
        masks += [kept(session, name).astype(np.float64) for name in ("one", "two")]
    count = masks[0].size
    sigma = 5 / np.sqrt(count)
    for mask in masks:
        assert abs(mask.mean() - 0.5) < 0.5 * sigma
        for axis in range(4):
            spread = 0.5 / np.sqrt(count / mask.shape[axis])
            means = mask.mean(tuple(k for k in range(4) if k != axis))
            assert np.abs(means - 0.5).max() < 5 * spread
            assert abs(4 * ((mask - 0.5) * (np.roll(mask, 1, axis) - 0.5)).mean()) < sigma
    for index, one in enumerate(masks):
        for other in masks[:index]:
            assert abs(4 * ((one - 0.5) * (other - 0.5)).mean()) < sigma


@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_the_mean_stays(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is scaled: the mean of the map is that of the input, at any rate."""
    monkeypatch.setattr(pt.Learner, "_maps_take_turns", False)  # both are read behind the step
    graph = Graph.build((1, 16, 16), [Conv(4, 1, name="c"), Relu(), Dropout(rate, "d"),
                                      Dense(4, name="logits")], "mean")
    session = opened(graph)
    step(session, graph, 1)
    e = session.policy.exponents(BATCH).layers
    before, after = (session._get(f"{name}.y", np.int16).astype(float) for name in "cd")
    open_ = kept(session, "d").transpose(0, 2, 3, 1).reshape(BATCH, 1, -1).ravel()
    assert not after[~open_].any()
    ratio = (after[open_].sum() * 2.0 ** e[1].y) / (before[open_].sum() * 2.0 ** e[0].y)
    assert abs(ratio * (1 - rate) - 1) < 2e-3


def described(image: ProgramImage) -> list[dict[str, int]]:
    found = [unpack_descriptor(image.program[at:at + DESCRIPTOR_BYTES])
             for at in range(0, len(image.program), DESCRIPTOR_BYTES)]
    return [one for one in found if one["pre.opcode"] == Opcode.VECTOR]


def test_evaluation_does_without_it() -> None:
    session = opened(CNN)
    assert sum(one["v.v_drop"] for one in described(session.training)) >= 4
    names = [session.plan.specs[descriptor.layer].name
             for descriptor in session.evaluation.descriptors]
    assert not set(names) & {"map", "normed", "flat", "units"}
    # With a ReLU behind it, the ReLU remains.
    session = opened(MLP)
    (left,) = described(session.evaluation)
    assert left["v.v_relu"] == 1 and left["v.v_drop"] == 0


def test_the_program_of_an_evaluation_is_that_of_the_network_without_it() -> None:
    layers = [Conv(8, 3, 1, 1, name="a"), ops.BatchNorm(name="bn"), Relu(), Dropout(0.5, "d"),
              Conv(8, 3, 1, 1, name="b"), Dropout(0.2, "e"), Dense(4, name="logits")]
    plans = [opened(Graph.build((2, 8, 8), [op for op in layers if keep or op.kind != "dropout"])
                    ).plan for keep in (True, False)]
    with_it, without = ([(descriptor.role, plan.specs[descriptor.layer].name, descriptor.images)
                         for descriptor in plan.evaluate] for plan in plans)
    assert with_it == without


def test_frozen_layers_drop_too() -> None:
    """As in PyTorch: in training whatever is trained, no flags where no gradient comes back."""
    session = opened(CNN, trainable="last-layer")
    drops = [one for one in described(session.training) if one["v.v_drop"]]
    assert drops and not any(one["v.v_flags"] for one in drops)
    # Normalisations below what is trained use running statistics.
    frozen = Graph.build(CNN.input_shape, [
        ops.BatchNorm(frozen=True, name=op.name) if isinstance(op, ops.BatchNorm) else op
        for op in CNN.ops])
    reference = FloatTrainer(frozen, init_params(frozen, SEED), seed=SEED)
    wanted = reference.gradients(*data_of(CNN, BATCH))[0].loss
    assert abs(step(session, CNN, 0) - wanted) < 4e-3


def test_rate_zero_is_nothing() -> None:
    layers = [Conv(4, 3, name="c"), Dropout(0.0, "d"), Relu(name="r"), Flatten(name="f"),
              Dropout(0.0, "e"), Dense(4, name="logits"), Dropout(0.0, "g")]
    with_it = Graph.build((1, 6, 6), layers)
    without = Graph.build((1, 6, 6), [op for op in layers if not isinstance(op, Dropout)])
    assert pt.layers.fuse(with_it) == pt.layers.fuse(without)


def test_training_goes_on_with_the_same_masks(tmp_path: Path) -> None:
    whole, first = (pt.Learner(CNN, batch=BATCH, seed=SEED) for _ in range(2))
    x, y = data_of(CNN)
    for _ in range(2):
        whole.fit(x, y, epochs=1, progress=False)
    first.fit(x, y, epochs=1, progress=False)
    first.save(tmp_path / "net.safetensors")
    second = pt.load(tmp_path / "net.safetensors")
    second.fit(x, y, epochs=1, progress=False)
    assert second.steps == 12
    assert all(own.same_bits(second.masters[name]) for name, own in whole.masters.items())


def test_an_interrupted_training_goes_on_with_the_same_masks(tmp_path: Path) -> None:
    class Interrupt(pt.callbacks.Callback):
        def __init__(self, at: int) -> None:
            self.at = at

        def on_step(self, learner: pt.Learner, outcome: object) -> None:
            if learner.steps == self.at:
                raise RuntimeError("interrupted")

    x, y = data_of(MLP)
    whole, first = (pt.Learner(MLP, batch=BATCH, seed=SEED) for _ in range(2))
    whole.fit(x, y, epochs=2, progress=False)
    path = tmp_path / "net.safetensors"
    with pytest.raises(RuntimeError, match="interrupted"):
        first.fit(x, y, epochs=2, progress=False, checkpoint=path, checkpoint_every=1,
                  callbacks=[Interrupt(8)])
    second = pt.load(path)
    assert second.steps == 7
    second.fit(x, y, epochs=2, progress=False, resume=True, callbacks=[Interrupt(0)])
    assert all(own.same_bits(second.masters[name]) for name, own in whole.masters.items())


def test_the_seed_names_the_masks() -> None:
    """Learner and twin draw alike, with accumulation too; another seed draws others."""
    x, y = data_of(MLP)
    histories = []
    for seed, parts in ((SEED, 1), (SEED, 2), (SEED + 1, 1)):
        learner = pt.Learner(MLP, optimizer=pt.SGD(lr=0.02), batch=8, seed=seed, accumulate=parts)
        start = init_params(MLP, SEED)
        learner.set_params(start)
        found = learner.fit(x, y, epochs=1, progress=False).batch_losses
        twin = pt.fit_float(MLP, x, y, epochs=1, optimizer=pt.SGD(lr=0.02), batch=8, seed=seed,
                            params=start, accumulate=parts).batch_losses
        means = np.reshape(found, (-1, parts)).mean(1)
        assert np.abs(means - twin).max() < 5e-3
        histories.append(found)
    assert not np.allclose(histories[0], histories[2], atol=0.01)


def test_a_twin_that_goes_on_draws_as_the_learner() -> None:
    learner = pt.Learner(MLP, optimizer=pt.SGD(lr=0.02, momentum=0.0), batch=8, seed=SEED)
    x, y = data_of(MLP)
    learner.fit(x, y, epochs=1, progress=False)
    start = learner.params
    found = learner.fit(x, y, epochs=1, progress=False).batch_losses
    twin = pt.fit_float(MLP, x, y, epochs=1, optimizer=learner.optimizer, batch=8, seed=SEED,
                        params=start, epochs_before=1)
    assert np.abs(np.array(found) - twin.batch_losses).max() < 5e-3


def test_predictions_of_a_network_that_was_never_trained(
        monkeypatch: pytest.MonkeyPatch) -> None:
    learner = pt.Learner(MLP, batch=8, seed=SEED)
    x, y = data_of(MLP, 8)
    wanted = FloatTrainer(MLP, learner.params).logits(x)
    assert np.abs(learner.logits(x) - wanted).max() < 0.01 * np.abs(wanted).max()
    learner.calibrate(x)
    # From then on ranges are known, though a dropout in front has none.
    monkeypatch.setattr(learner._open(), "calibrate_forward", None)
    learner.evaluate(x, y)


def test_the_kernel_of_ef_train_has_none() -> None:
    with pytest.raises(BadInput, match=r"layer 'd': expected a convolution or a dense "
                                       "layer, found drop"):
        pt.Learner(Graph.build((1, 6, 6), [Conv(4, 3), Dropout(0.5, "d"), Dense(3)]),
                   board="hls-csim", optimizer=pt.SGD(0.1, momentum=0.0))._open()


@pytest.mark.parametrize("name", list(NETS))
def test_programs_are_legal(name: str) -> None:
    assert verify(NETS[name], batch=5, steps=1, board="golden", seed=2).mismatches == 0
