"""Training from a cache of frozen layers: the same after a break, refused where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.backends import RunResult
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.graph.activation import Relu
from pynq_train.graph.ops import BatchNorm, Conv, Dense, GlobalAvgPool
from pynq_train.run.cached import CachedSession
from pynq_train.schedule.lower.program import ProgramImage

GRAPH = Graph.build((3, 8, 8), [
    Conv(8, 3, 1, 1, name="c0"), BatchNorm(name="n0"), Relu(), Conv(8, 3, 1, 1, name="c1"),
    BatchNorm(name="n1"), Relu(), GlobalAvgPool(), Dense(3, name="d")], "small")
SGD = pt.SGD(lr=0.1, schedule="constant")


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((14, 3, 8, 8)).astype(np.float32)
    return x, np.arange(14) % 3


class Stop(Exception):
    """Ends a training in the middle."""


def learner(trainable: str = "last-layer") -> pt.Learner:
    return pt.Learner(GRAPH, optimizer=SGD, batch=4, trainable=trainable)


@pytest.mark.parametrize("trainable", ["last-layer", "last-block"])
def test_a_broken_training_goes_on_with_the_same_bits(trainable: str, tmp_path: Path) -> None:
    x, y = data()
    through = learner(trainable)
    through.fit(x, y, 3, cache=True, progress=False)
    broken, path = learner(trainable), tmp_path / "m.safetensors"

    def stop(epoch: object) -> bool:
        if len(broken.history.epochs) == 2:
            raise Stop
        return False

    def go_on(epoch: object) -> bool:
        return False

    with pytest.raises(Stop):
        broken.fit(x, y, 3, cache=tmp_path / "maps", progress=False, callbacks=[stop],
                   checkpoint=path, checkpoint_every=2)
    broken.close()
    again = pt.load(path)
    assert isinstance(again, pt.Learner)
    again.fit(x, y, resume=True, cache=True, progress=False, callbacks=[go_on])
    assert all(own.same_bits(again.masters[name]) for name, own in through.masters.items())
    assert again.history.batch_losses == through.history.batch_losses
    assert np.array_equal(again.logits(x), through.logits(x))


def test_frozen_layers_run_once_for_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()
    ran: list[str] = []
    run = CachedSession._run

    def noted(session: CachedSession, program: ProgramImage, then: Any = None) -> RunResult:
        ran.append(program.name)
        return run(session, program, then)

    monkeypatch.setattr(CachedSession, "_run", noted)
    plain, cached = learner(), learner()
    before = cached.masters
    plain.fit(x, y, 2, progress=False)
    cached.fit(x, y, 2, progress=False, cache=True, validation_data=(x, y))
    assert isinstance(cached._trainer, CachedSession) and not cached._trainer.cached
    steps, parts = 2 * (len(x) // 4), -(-len(x) // 4)
    first = ran.index("cached")
    assert ran[first - parts : first] == ["evaluate"] * parts
    assert ran.count("cached") == steps and "train" not in ran[first:]
    assert cached.masters["c1"].same_bits(before["c1"])
    assert not cached.masters["d"].same_bits(before["d"])
    assert np.allclose(cached.logits(x), plain.logits(x), atol=0.02)
    ran.clear()
    cached.fit(x, y, progress=False)
    assert ran.count("train") >= steps // 2 and "cached" not in ran


def test_what_is_no_cache_is_refused() -> None:
    x, y = data()
    for one, cache, text in (
            (learner("all"), True, "expected frozen layers in front of what is trained"),
            (learner(), 3, "cache file: its path: expected a path, found 3"),
            (learner(), "/no/folder/maps", "cache file '/no/folder/maps': found No such file")):
        before = one.masters
        with pytest.raises(BadInput, match=text):
            one.fit(x, y, cache=cache, progress=False)  # type: ignore[arg-type]
        assert one.steps == 0
        assert all(own.same_bits(one.masters[name]) for name, own in before.items())
