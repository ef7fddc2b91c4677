"""Domains: named adapters on one backbone, in memory and in a file."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import BatchNorm, Conv, Dense, Graph, LayerParams, Model, Relu
from pynq_train.layers import init_params
from pynq_train.train.domains import learning

GRAPH = Graph.build((1, 6, 6), [
    Conv(20, 3, 1, 1, False, "a"), BatchNorm(name="n"), Relu(), Conv(20, 3, 1, 1, name="b"),
    Relu(), Dense(3, name="out")], "rooms")
CACHED = ("skip-lora",)
"""Rungs that learn from a cache here."""
ROOMS = ("kitchen", "car", "street", "office", "hall")


def samples(room: int, count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Images of a room: their scale and what is bright differ."""
    rng = np.random.default_rng(room)
    y = np.arange(count) % 3
    x = rng.normal(size=(count, 6, 6)) * 0.2
    for image, label in zip(x, y):
        image[:, (2 * (label + room)) % 6] += 1
    return (x * 1.1 ** room).astype(np.float32), y


@pytest.fixture(scope="module")
def model() -> Model:
    rng = np.random.default_rng(0)
    params = init_params(GRAPH, 0)
    params["n"] = LayerParams(*(rng.uniform(0.5, 1.5, 20).astype(np.float32) for _ in range(4)))
    return Model(GRAPH, params)


def learner(model: Model, rung: Any = "lora") -> pt.Learner:
    return pt.Learner(model, trainable=rung, batch=8, optimizer=pt.SGD(lr=0.02))


@pytest.mark.parametrize("rung", ["lora", "bias", "norm", "all", "skip-lora"])
def test_domains_learnt_before_keep_their_bits(model: Model, rung: str) -> None:
    x = np.concatenate([samples(room)[0][:4] for room in range(len(ROOMS))])
    with learner(model, rung) as one:
        one.calibrate(samples(0)[0])
        one.domains.keep("plain")
        before = one.logits(x)
        said = {}
        for number, room in enumerate(ROOMS):
            one.domains.use("plain")
            one.fit(*samples(number), epochs=2, progress=False, cache=rung in CACHED)
            said[room] = one.logits(x)
            one.domains.keep(room)
        assert one.domains.names == ("plain", *ROOMS) and len(one.domains) == 6
        for room in (*ROOMS[::-1], *ROOMS):
            one.domains.use(room)
            np.testing.assert_array_equal(one.logits(x), said[room], err_msg=room)
        one.close()
        np.testing.assert_array_equal(one.logits(x), said["hall"])
        one.domains.use("plain")
        np.testing.assert_array_equal(one.logits(x), before)
        assert len({logits.tobytes() for logits in (before, *said.values())}) == 6


def test_a_domain_goes_on_as_if_nothing_had_been_between(model: Model) -> None:
    """Momentum and exponents are kept, too."""
    def steps(between: bool) -> np.ndarray:
        with learner(model) as one:
            one.fit(*samples(1), progress=False)
            if between:
                one.domains.keep("car")
                one.fit(*samples(3), progress=False)
                one.domains.use("car")
                one.state.epochs = one.state.steps = 0  # they name the order of the images
            one.state.epochs = one.state.steps = 0
            one.fit(*samples(1), progress=False)
            return one.logits(samples(1)[0])

    np.testing.assert_array_equal(steps(True), steps(False))


def test_switching_writes_adapters_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with learner(model, "lite-residual") as one:
        one.fit(*samples(0), progress=False)
        one.domains.keep("kitchen")
        one.fit(*samples(1), progress=False)
        one.domains.keep("car")
        written: list[str] = []
        session, memory = one._trainer, one.plan.memory
        put = session._put
        monkeypatch.setattr(session, "_put", lambda symbol, data: (written.append(symbol),
                                                                   put(symbol, data)))
        one.domains.use("kitchen")
        own = list(written)
        trained = {name.removesuffix(".bias") for name in one.trainable}
        assert {symbol.rsplit(".", 1)[0] for symbol in own} == trained
        for name in one.trainable:  # of a frozen layer whose bias learns: nothing but that
            if name.endswith(".bias"):
                assert [s for s in own if s.startswith(f"{name.removesuffix('.bias')}.")] == [name]
        assert 0 < sum(memory[symbol].nbytes for symbol in own) < memory.nbytes * 0.6
        assert one.domains.names == ("kitchen", "car")


def test_a_file_of_domains(model: Model, tmp_path: Path) -> None:
    x = samples(2)[0]
    own, path = tmp_path / "backbone.safetensors", tmp_path / "rooms.safetensors"
    with learner(model) as one:
        said = []
        for number, room in enumerate(ROOMS[:2]):
            one.fit(*samples(number), progress=False)
            one.domains.keep(room)
            said.append(one.logits(x))
        one.save(own)
        one.domains.save(path)
    with pt.load(own) as other:
        other.domains.load(path)
        for room, logits in zip(ROOMS, said):
            other.domains.use(room)
            np.testing.assert_array_equal(other.logits(x), logits)
    assert path.stat().st_size < own.stat().st_size * 2
    for copied in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        copied.domains.use("kitchen")
        np.testing.assert_array_equal(copied.logits(x), said[0])
    with learner(model, "skip-lora") as stranger, pytest.raises(
            BadInput, match=r"expected adapters of this backbone, .*, found those of"):
        stranger.domains.load(path)
    params = {**model.params, "b": LayerParams(model.params["b"].weight * np.float32(0.5),
                                               model.params["b"].bias)}
    with learner(Model(GRAPH, params)) as stranger, pytest.raises(BadInput, match="this backbone"):
        stranger.domains.load(path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with learner(model) as one, pytest.raises(BadInput, match=r"is damaged: its contents"):
        one.domains.load(path)
    with pytest.raises(BadInput, match="expected domains saved by pynq_train"):
        one.domains.load(own)
    path.write_bytes(b"nothing")
    with pytest.raises(BadInput, match="damaged"):
        one.domains.load(path)


def test_names(model: Model, tmp_path: Path) -> None:
    one = learner(model)
    with pytest.raises(BadInput, match="domains: expected one at least, found none"):
        one.domains.save(tmp_path / "none.safetensors")
    for name in ("", 3, "x" * 257):
        with pytest.raises(BadInput, match="name of a domain: expected a text"):
            one.domains.keep(name)
    one.domains.keep("kitchen")
    with pytest.raises(UnknownName, match="domain"):
        one.domains.use("kitchn")
    assert "kitchen" in one.domains and list(one.domains) == ["kitchen"]
    assert repr(one.domains) == "<Domains: kitchen>"
    one.domains.forget("kitchen")
    assert not len(one.domains) and repr(one.domains) == "<Domains: none>"
    with pytest.raises(UnknownName):
        one.domains.forget("kitchen")


def test_what_a_training_changes(model: Model) -> None:
    """Moving statistics belong to a domain, frozen ones to the backbone."""
    assert learning(learner(model, "all").plan) == ("a", "n", "b", "out")
    assert learning(learner(model, "last-layer").plan) == ("out",)
    assert learning(learner(model, ["a", "out"]).plan) == ("a", "n", "out")
