"""A step whose loss the host computes: outputs read, gradients written, failures undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pynq_train.backends import open_backend
from pynq_train.errors import HardwareFault
from pynq_train.graph import Graph, Relu
from pynq_train.graph.image_format import ANY_IMAGES
from pynq_train.graph.ops import Add, BatchNorm, Conv, Dense, GlobalAvgPool, Op, Upsample
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.halves import read_outputs, write_gradient
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.compiled import from_saved, to_saved
from pynq_train.schedule.plan import Plan, loss_at, make_plan
from pynq_train.schedule.predict import predict
from pynq_train.train.images import ImageSource

BATCH = 3
NETS: dict[str, tuple[Op, ...]] = {
    "vector": (Conv(3, 3, name="c"), Dense(5)),
    "mean": (Conv(6, 3, name="c"), GlobalAvgPool()),
    "one pixel": (Conv(6, 6, padding=0, name="c"),),
    "map": (Conv(6, 3, padding=1, name="c"),),
    "normalised": (Conv(6, 3, padding=1, name="c"), BatchNorm()),
    "sum": (Conv(5, 1, name="a"), Conv(5, 3, padding=1, name="b", inputs=("input",)),
            Add("s", ("a", "b")), Relu()),
    "larger": (Conv(2, 3, name="c"), Upsample(2)),
}


def plan_of(name: str, kind: str = "mse", **options: Any) -> Plan:
    layers = fuse(Graph.build((2, 6, 6), NETS[name], name))
    options = {"values": True} if kind == "mse" else options
    return make_plan(layers, BATCH, BOARDS["pynq-z2"], loss=loss_at(layers, BATCH, kind, **options))


def session_of(plan: Plan, backend: Any, **more: Any) -> Session:
    masters = {n: Masters.of(p) for n, p in init_params(plan.layers, 1).items()}
    return Session(plan, backend, masters, new_policy(plan, masters, INPUT_START), **more)


def data_of(plan: Plan, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return (draw.normal(0, 1, (BATCH, 2, 6, 6)).astype(np.float32),
            draw.normal(0, 1, (BATCH, *plan.layers[-1].out_shape)).astype(np.float32))


@pytest.mark.parametrize("name", NETS)
def test_what_is_written_as_a_gradient_has_the_places_of_the_outputs(name: str) -> None:
    plan = plan_of(name)
    assert plan.loss.on_host and "softmax" not in {one.role.name.lower() for one in plan.train}
    codes = np.random.default_rng(1).integers(-99, 99, (BATCH, *plan.layers[-1].out_shape))
    with open_backend("golden", plan.memory.nbytes) as backend:
        write_gradient(plan, backend, codes.astype(np.int16))
        gradient = plan.memory["dlogits"]
        backend.write(plan.memory["logits"].offset, backend.read(gradient.offset, gradient.nbytes))
        np.testing.assert_array_equal(read_outputs(plan, backend), codes)


@pytest.mark.parametrize("name", NETS)
def test_a_step_takes_the_gradient_of_its_own_outputs(name: str) -> None:
    plan = plan_of(name)
    images, targets = data_of(plan)
    with open_backend("golden", plan.memory.nbytes) as backend:
        session = session_of(plan, backend, fill_seed=7)
        session.prepare(images, targets, 2)
        before = [session.train_step(images, targets, SgdStep(0.05, 0.9)).loss_sum
                  for _ in range(30)]
        outcome, outputs = session.evaluate(images, targets)
    assert before[-1] < 0.9 * before[0]
    wanted = np.square(outputs.reshape(targets.shape) - targets).mean()
    assert outcome.loss_sum / BATCH == pytest.approx(wanted, rel=1e-4)


class Faulty:
    """A backend that fails in one run."""

    def __init__(self, backend: Any, run: int) -> None:
        self._backend, self._left = backend, run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def run(self, request: Any) -> Any:
        """Run, or fail behind the run."""
        result = self._backend.run(request)
        self._left -= 1
        if self._left == 0:
            raise HardwareFault("planted")
        return result


def test_the_exponent_of_a_gradient_follows_from_what_counts() -> None:
    plan = plan_of("map", "cross-entropy", ignore=9)
    labels = np.full((BATCH, 6, 6), 9)
    with open_backend("golden", plan.memory.nbytes) as backend:
        session = session_of(plan, backend)
        images, _ = data_of(plan)
        labels[:] = 1
        session.prepare(images, labels, 2)
        labels[:] = 9
        labels[1, 2, 3] = 4  # one of 108 pixels
        _, outputs = session.evaluate(images)
        session.train_step(images, labels, SgdStep(0.05, 0.9))
        gradient = plan.memory["dlogits"]
        backend.write(plan.memory["logits"].offset, backend.read(gradient.offset, gradient.nbytes))
        found = np.ldexp(read_outputs(plan, backend)[1, :, 2, 3].astype(float), -15)
    shares = np.exp(outputs[1, :, 2, 3] - outputs[1, :, 2, 3].max())
    np.testing.assert_allclose(found, shares / shares.sum() - (np.arange(6) == 4), atol=0.01)


@pytest.mark.parametrize(("failing", "pixels"), [(5, False), (6, False), (6, True)])
def test_a_failure_in_either_half_is_undone(failing: int, pixels: bool,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNQ_TRAIN_FAILURES", "")
    plan = plan_of("map", "cross-entropy", ignore=9)
    labels = np.random.default_rng(2).integers(0, 6, (4, BATCH, 6, 6))
    labels[:, :, :2] = 9
    labels[2, 1:] = 9  # another mean, and so another exponent

    def trained(run: int) -> dict[str, Masters]:
        with open_backend("golden", plan.memory.nbytes) as backend:
            session = session_of(plan, backend)
            images: Any = data_of(plan)[0]
            if pixels:  # which are kept in place of their codes
                values = np.random.default_rng(4).integers(0, 255, (9, 2, 6, 6)).astype(np.uint8)
                images = ImageSource(values, (2, 6, 6), ANY_IMAGES).batch(np.arange(BATCH))
            session.prepare(images, labels[0], 2)
            session.backend = Faulty(backend, run)
            for step, wanted in enumerate(labels):
                def one(wanted: np.ndarray = wanted) -> Any:
                    return session.train_step(images, wanted, SgdStep(0.05, 0.9))
                if run and step == (run - 1) // 2:
                    with pytest.raises(HardwareFault, match="planted"):
                        session.protected(one)
                session.protected(one)
            return session.read_masters()

    undisturbed, disturbed = trained(0), trained(failing)
    assert all(own.same_bits(disturbed[name]) for name, own in undisturbed.items())


def test_a_file_holds_both_halves() -> None:
    plan = plan_of("map")
    with open_backend("golden", plan.memory.nbytes) as backend:
        session = session_of(plan, backend)
        values, arrays = to_saved(plan, session.programs)
        read, programs = from_saved(values, arrays, plan.layers, plan.board, "file")
        assert programs.training.halt == session.training.halt > 0
        assert programs.training.program == session.training.program
        assert [len(run) for run in programs.training.runs] == [
            1, len(plan.train) - 1]
    assert read.memory == plan.memory


def test_a_prediction_adds_up_both_halves() -> None:
    plan = plan_of("map")
    found = predict(plan, plan.train)
    halt = plan.halt(plan.train)
    assert found.starts[halt] > found.ends[halt - 1] and len(found.ends) == len(plan.train)
    assert found.cycles > found.ends[-1]
