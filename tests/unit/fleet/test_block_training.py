"""Blocks that are trained apart: bits, buffers, boards in turn, checkpoints, early exits."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train import fleet
from pynq_train.errors import BadInput, DataWarning, HardwareFault, UnknownName
from pynq_train.fleet.block_training import training
from pynq_train.fleet.block_training.answers import confidences, passed
from pynq_train.fleet.block_training.learner import BlockLearner
from pynq_train.fleet.block_training.maps import MapBatch, read_map
from pynq_train.fleet.cut import is_forward
from pynq_train.fleet.segment import DeviceMap
from pynq_train.graph.reference import FloatTrainer
from pynq_train.run.session import Session


def network() -> pt.Graph:
    """Return a network with normalisations, a skip, a dropout, and a vector at the end."""
    return pt.Graph.build((1, 8, 8), [
        pt.Conv(6, 3, 1, 1, False, "conv1"), pt.BatchNorm(name="bn1"), pt.Relu("relu1"),
        pt.Dropout(0.25, "drop"),
        pt.Conv(8, 3, 1, 1, False, "conv2"), pt.Relu("relu2"),
        pt.Conv(8, 3, 1, 1, False, "conv3"), pt.Add("add", ("conv3", "relu2")), pt.Relu("relu3"),
        pt.Dense(7, name="dense1"), pt.Relu("relu4"), pt.Dense(4, name="dense2")], "small")


AFTER = ["drop", "relu3", "relu4"]
HEADS = ["conv", "pooled", "dense"]
OPTIONS: dict[str, Any] = {"batch": 8, "seed": 5, "progress": False, "optimizer": pt.SGD(
    lr=0.05, momentum=0.9, schedule="cosine", warmup_steps=2)}


def data(images: int = 44) -> tuple[np.ndarray, np.ndarray]:
    """Return images that can be told apart, and their labels."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 4, images)
    x = rng.normal(size=(images, 8, 8)).astype(np.float32) * 0.2
    x[np.arange(images), y] += 1
    return x, y


def blocks() -> tuple[fleet.Block, ...]:
    return fleet.blocks(network(), AFTER, head=HEADS)


def train(epochs: int = 2, **options: Any) -> fleet.TrainedBlocks:
    return fleet.train_blocks(blocks(), *data(), epochs, **{**OPTIONS, **options})


def bits(learner: pt.Learner) -> dict[str, Any]:
    """Return masters, momentum, statistics and the training state, but for times and boards."""
    state = {**learner._state(), "board": ""}
    for epoch in state["history"]:
        epoch["seconds"] = 0
    found: dict[str, Any] = {"state": repr(state)}
    for name, own in learner.masters.items():
        for part in ("weight", "weight_momentum", "bias", "bias_momentum", "mean", "variance"):
            value = getattr(own, part)
            found[f"{name}.{part}"] = None if value is None else value.tobytes()
    return found


def all_bits(trained: fleet.TrainedBlocks) -> list[dict[str, Any]]:
    """Return the bits of all blocks, and close them."""
    trained.close()
    return [bits(learner) for learner in trained.learners]


@pytest.fixture(scope="module")
def in_turn() -> list[dict[str, Any]]:
    """Bits of blocks on one board, in turn."""
    return all_bits(train())


def test_the_first_block_is_what_a_learner_trains() -> None:
    """Masters, momentum, statistics, exponents, history: a block is an ordinary network."""
    x, y = data()
    with pt.Learner(blocks()[0].graph, batch=8, seed=5, optimizer=OPTIONS["optimizer"]) as alone:
        alone.fit(x, y, 2, validation_data=(x[:12], y[:12]), progress=False)
        expected = bits(alone)
    with train(validation_data=(x[:12], y[:12])) as trained:
        found = all_bits(trained)[0]
    assert {name: one for name, one in expected.items() if name != "state"} == {
        name: one for name, one in found.items() if name != "state"}
    mine, theirs = trained.learners[0], alone
    assert mine._policy.to_dict() == theirs._policy.to_dict()
    for one, other in zip(mine.history.epochs, theirs.history.epochs):
        assert replace(one, seconds=0, clipped={}) == replace(other, seconds=0, clipped={})


def test_one_pixel_far_from_the_others_is_announced() -> None:
    """As by any other training."""
    x, y = data()
    x[3, 2, 2] = 1e4
    with pytest.warns(DataWarning, match="of 15 bits are left"):
        fleet.train_blocks(blocks(), x, y, 1, **OPTIONS)



@pytest.mark.parametrize("options", [
    {"boards": ["golden"] * 4, "threads": False}, {"boards": ["golden"] * 4, "ring": 1},
    {"boards": ["golden"] * 4, "ring": 3}, {"ring": 1}, {"ring": 100}],
    ids=["several", "threads", "threads, 3", "turns of 1", "turns of an epoch"])
def test_boards_in_turn_and_side_by_side_have_the_same_bits(
        in_turn: list[dict[str, Any]], options: dict[str, Any]) -> None:
    assert all_bits(train(**options)) == in_turn


def test_on_one_board_it_takes_the_memory_of_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    """One backend is opened, once; blocks use it one after the other."""
    opened: list[int] = []
    real = training.open_backend

    def open_backend(name: str, nbytes: int) -> Any:
        opened.append(nbytes)
        return real(name, nbytes)

    monkeypatch.setattr(training, "open_backend", open_backend)
    monkeypatch.setattr("pynq_train.train.learner.open_backend", None)
    with train(1) as trained:
        assert opened == [max(trained.arena_bytes)]
        assert max(trained.arena_bytes) < sum(trained.arena_bytes)
        assert sum(one._trainer is not None for one in trained.learners) == 1
        text = trained.table()
    assert f"{max(trained.arena_bytes):,} bytes of device memory, those of the largest" in text
    for block, learner in zip(trained.blocks, trained.learners):
        line = text.splitlines()[1 + block.number]
        assert f"{learner.predicted_step().cycles:,}" in line
        assert f"{block.head_parameters:,}" in line and f"{block.parameters:,}" in line


def test_the_map_that_goes_on_is_that_of_the_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the weights moved, with dropouts, and not a bit is rounded in the next block."""
    seen, exponents = 0, set()
    real = BlockLearner.step

    def step(self: BlockLearner, images: Any, labels: Any, at: int, total: int, k: int) -> Any:
        nonlocal seen
        before = copy.deepcopy(self) if at else None
        outcome, made = real(self, images, labels, at, total, k)
        session = self._session()
        if isinstance(images, MapBatch):
            codes = session.backend.read(session.plan.memory["input"].offset,
                                         images.made.codes.nbytes).view(np.int16)
            assert np.array_equal(codes, images.made.codes.reshape(-1))
            if self._block is not None and self._block.number == 2:
                exponents.add(images.made.exponent)
        if before is None or made is None:
            return outcome, made
        # The same step again, ended behind its forward half.
        assert self._block is not None and self._layer is not None
        before.belong(self._block, None)
        with before:
            again = before._session()
            if isinstance(images, MapBatch):
                again.policy.input_k = images.exact_k
            order = [is_forward(one) for one in again.training.descriptors]
            forward = len(order) - order[::-1].index(True)
            request = again.request

            def short(program: Any, count: Any = None, meanwhile: Any = None) -> Any:
                return request(program, forward if program is again.training else count)

            again._requests.clear()
            again.request = short  # type: ignore[method-assign]
            sgd = self.optimizer.at(at, total, [], 1, self.seed, before.state.steps)
            again.train_step(images, labels, sgd)
            half = read_map(again, self._layer, made.made.exponent)
        assert forward < len(order)
        assert np.array_equal(half.codes, made.made.codes) and half.codes.any()
        seen += 1
        return outcome, made

    monkeypatch.setattr(BlockLearner, "step", step)
    train(1, ring=2, optimizer=pt.SGD(lr=2.0, momentum=0.9, schedule="constant")).close()
    assert seen == 3 * 4
    assert len(exponents) > 1, "the input's exponent has to move"


def test_a_map_of_a_training_step_has_the_values_of_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the weights before the step, with the exponent of that step, in each step."""
    seen = set()
    real = BlockLearner.step

    def step(self: BlockLearner, images: Any, labels: Any, at: int, total: int, k: int) -> Any:
        block = self._block
        assert block is not None
        before = dict(self.params) if block.number in (1, 2) else None
        outcome, made = real(self, images, labels, at, total, k)
        if before is not None and made is not None:  # without normalisation and dropout
            own = tuple(op for op in block.graph.ops if op.name in block.own)
            part = pt.Graph(block.graph.input_shape, own, "part")
            params = {name: one for name, one in before.items() if name in block.own}
            expected = FloatTrainer(part, params=params).logits(images.values())
            expected = np.minimum(expected, 32767 * 2.0**made.made.exponent)  # it saturates there
            assert np.abs(made.values().reshape(expected.shape) - expected).max() < (
                0.01 * np.abs(expected).max())
            seen.add((block.number, at))
        return outcome, made

    monkeypatch.setattr(BlockLearner, "step", step)
    train(1, optimizer=pt.SGD(lr=0.5, schedule="constant")).close()
    assert seen == {(number, at) for number in (1, 2) for at in range(5)}


def test_an_evaluation_passes_the_map_without_dropouts() -> None:
    """What the second block reads is the ReLU's map; the logits are those of an evaluation."""
    x, _ = data()
    with train(1) as trained:
        source = trained.learners[0].images(x[:5])
        learner = trained.use(0)
        _, logits, maps = learner.forward(source.batch(slice(0, 5)), None)
        assert maps is not None and len(maps) == 5
        session = learner._session()
        names = [spec.name for spec in session.plan.specs]
        made = read_map(session, names.index("drop") - 1, maps.made.exponent)
        assert np.array_equal(made.codes[:5], maps.made.codes)
        assert np.array_equal(logits, learner.logits(x[:5]))
        values = maps.values()
        assert values.shape == (5, 6, 8, 8) and (values >= 0).all() and values.any()
        # Masters in float give the same map, but for 16-bit rounding.
        params, conv = learner.params, learner.params["conv1"].weight
        padded = np.pad(source.take(slice(0, 5)), ((0, 0), (0, 0), (1, 1), (1, 1)))
        sums = sum(conv[None, :, 0, r, c, None, None] * padded[:, :, r:r + 8, c:c + 8]
                   for r in range(3) for c in range(3))
        norm = params["bn1"]
        gamma, beta, mean, variance = (np.asarray(one).reshape(1, -1, 1, 1) for one in (
            norm.weight, norm.bias, norm.mean, norm.variance))
        expected = np.maximum((sums - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
        assert np.abs(values - expected).max() < 0.01 * expected.max()


def test_asynchronous_blocks_in_a_drawn_order() -> None:
    """The order is that of the seed, on one board or several; each block takes all its steps."""
    options: dict[str, Any] = {"asynchronous": True, "ring": 2}
    found = all_bits(train(**options))
    assert all_bits(train(**options, boards=["golden"] * 4, threads=False)) == found
    assert all_bits(train(**options, seed=6)) != found
    assert [one["state"].count("'epoch': ") for one in found] == [2] * 4
    assert found[0] == all_bits(train())[0], "the first block reads the images in order"
    assert found[1] != all_bits(train())[1]


def test_asynchronous_blocks_at_once() -> None:
    """In threads the order is that of time; each block takes as many steps as there are."""
    with train(asynchronous=True, boards=["golden"] * 4, ring=2) as trained:
        assert [one.steps for one in trained.learners] == [10] * 4
        assert len(trained.evaluate(*data())) == 4


def test_a_training_goes_on_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                            ) -> None:
    """Killed in the second epoch; the same bits, in turn and in a drawn order."""
    for number, options in enumerate(({}, {"asynchronous": True, "ring": 2})):
        expected = all_bits(train(3, **options))
        folder, left = tmp_path / str(number), 2 * 4 * 5 - 3
        real = BlockLearner.step

        def step(self: BlockLearner, *args: Any, real: Any = real) -> Any:
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt
            return real(self, *args)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(BlockLearner, "step", step)
            train(3, checkpoint=folder, **options)
        assert sorted(path.name for path in folder.iterdir()) == [
            *(f"block{at}-1.safetensors" for at in range(4)), "blocks.json"]
        with pytest.raises(BadInput, match=r"resume: training in blocks: expected .*; say what"):
            train(4, checkpoint=folder, resume=True, **options)
        assert all_bits(train(3, checkpoint=folder, resume=True, **options)) == expected
    with pytest.raises(BadInput, match=r"expected a blocks\.json in it, found none"):
        train(3, checkpoint=tmp_path / "none", resume=True)


def test_a_block_that_fails_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is raised, no thread is left, and rings that are waited at are closed."""
    for failing in range(4):
        real = Session.train_step

        def step(self: Session, *args: Any, number: int = failing, real: Any = real) -> Any:
            if self.plan.specs[0].name == ("conv1", "conv2", "dense1", "dense2")[number]:
                raise HardwareFault("planted")
            return real(self, *args)

        before = threading.active_count()
        with monkeypatch.context() as patch, pytest.raises(HardwareFault, match="planted"):
            patch.setattr(Session, "train_step", step)
            train(boards=["golden"] * 4, ring=1)
        assert threading.active_count() == before


def test_early_exits_answer_what_the_blocks_answer() -> None:
    """Images that stop are not seen by later blocks; shares add up to 1."""
    x, y = data()
    with train(3) as trained:
        source = trained.learners[0].images(x)
        logits = [np.zeros((len(x), 4), np.float32) for _ in range(4)]
        for one in passed(trained.use, 4, source, None, 2):
            logits[one.block][one.rows] = one.logits
        sure = np.array([confidences(one) for one in logits])
        middle = float(np.median(sure[:2]))
        for confidence in (0.0, middle, 1.0):
            found = trained.exits(x, confidence)
            reached = np.vstack([sure[:3] >= confidence, np.ones((1, len(x)), bool)])
            assert np.array_equal(found.block, reached.argmax(axis=0))
            chosen = np.array(logits)[found.block, np.arange(len(x))]
            assert np.array_equal(found.classes, chosen.argmax(axis=1))
            assert np.allclose(found.confidence, confidences(chosen))
            assert sum(found.share) == pytest.approx(1) and len(found.share) == 4
            weighted = sum((right or 0) * share for right, share in zip(
                found.accuracy(y), found.share))
            assert weighted == pytest.approx((found.classes == y).mean())
        assert trained.exits(x, 0.0).share == (1, 0, 0, 0)
        assert trained.exits(x, 0.0).accuracy(y)[1:] == (None, None, None)
        assert 0 < trained.exits(x, middle).share[0] < 1
        evaluated = trained.evaluate(x, y)
        assert [one.accuracy for one in evaluated] == [
            pytest.approx((one.argmax(axis=1) == y).mean()) for one in logits]
        assert evaluated[0].loss == trained.learners[0].evaluate(x, y).loss


def test_codes_of_a_map_are_its_values() -> None:
    """Of another exponent they are rounded; channels that pad a block are no values."""
    rng = np.random.default_rng(1)
    codes = rng.integers(-30000, 30000, (3, 2, 4, 5, 4)).astype(np.int16)
    codes[:, 1, :, :, 2:] = 0
    batch = MapBatch(DeviceMap(codes, -12), 6)
    assert batch.exact_k == batch.range_k(0) == 3
    values = batch.values()
    assert values.shape == (3, 6, 4, 5)
    assert values[2, 5, 3, 1] == codes[2, 1, 3, 1, 1] * 2.0**-12
    out = np.zeros_like(codes)
    batch.fill(-12, out)
    assert np.array_equal(out, codes)
    batch.fill(-11, out)
    assert np.abs(2 * out.astype(int) - codes).max() <= 1
    part = batch.take(np.array([2, 0]))
    assert len(part) == 2 and np.array_equal(part.values(), values[[2, 0]])


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"boards": ["golden"] * 2}, BadInput, "boards of 4 blocks: expected 4, one for each, found 2"),
    ({"boards": ["golden"] * 5}, BadInput, "boards of 4 blocks: expected 4, one for each, found 5"),
    ({"boards": "gold"}, UnknownName, "unknown board 'gold'"),
    ({"ring": 0}, BadInput, "ring: expected an integer of 1 or more, found 0"),
    ({"ring": -3}, BadInput, "ring: expected an integer of 1 or more, found -3"),
    ({"epochs": 0}, BadInput, "epochs: expected an integer of 1 or more, found 0"),
    ({"threads": True}, BadInput, "threads: expected a board for each block, found 'golden'"),
    ({"resume": True}, BadInput, "resume without checkpoint"),
    ({"batch": 64}, BadInput, "training images: expected at least one mini-batch (64), found 44"),
    ({"lr": 0.1}, UnknownName, "unknown option 'lr'"),
    ({"params": [{}]}, BadInput, "params: expected those of 4 blocks, found 1")])
def test_what_cannot_be_trained(options: dict[str, Any], error: type[Exception], text: str
                                ) -> None:
    with pytest.raises(error) as found:
        train(**options)
    assert text in str(found.value) and "\n" not in str(found.value)


def test_blocks_that_do_not_belong_together() -> None:
    x, y = data()
    with pytest.raises(BadInput, match=r"all blocks of one network, .* found blocks 1, 2, 3"):
        fleet.train_blocks(blocks()[1:], x, y)
    with pytest.raises(BadInput, match=r"use fleet\.blocks"):
        fleet.train_blocks([network()], x, y)  # type: ignore[list-item]
    with train(1) as trained, pytest.raises(BadInput, match=r"confidence: expected a number of 0 "
                                                            r"to 1, found 1\.5"):
        trained.exits(x, 1.5)
