"""Images of a session: made ready beside a step, used if they fit, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pynq_train.backends import RunRequest, open_backend
from pynq_train.graph import Sequential
from pynq_train.graph.image_format import ANY_IMAGES
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep
from pynq_train.run import Session
from pynq_train.run.batch import FloatBatch
from pynq_train.run.journal import MOST_STEPS
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.plan import make_plan
from pynq_train.train.images import ImageSource

BATCH, SHAPE = 4, (2, 6, 6)
SGD = SgdStep(0.01, 0.9)
LABELS = np.array([2, 0, 1, 1])


class Images(FloatBatch):
    """A batch that counts how often its codes are made."""

    def __init__(self, seed: int, count: int = BATCH, scale: float = 1.0) -> None:
        draw = np.random.default_rng(seed)
        super().__init__((scale * draw.standard_normal((count, *SHAPE))).astype(np.float32))
        self.fills = 0
        self.places: set[int] = set()
        self.fails = False

    def fill(self, exponent: int, out: Any) -> None:
        """Count, and fail if that is wanted."""
        self.fills += 1
        self.places.add(out.ctypes.data)
        if self.fails:
            raise OSError("no such file")
        super().fill(exponent, out)


@pytest.fixture
def session() -> Iterator[Session]:
    layers = fuse(Sequential(SHAPE).conv(4, 3, padding=1).relu().pool().dense(3).build())
    plan = make_plan(layers, BATCH, BOARDS["pynq-z2"])
    masters = {name: Masters.of(params) for name, params in init_params(layers, 1).items()}
    with open_backend("golden", plan.memory.nbytes) as backend:
        yield Session(plan, backend, masters, new_policy(plan, masters, 3))


def arena(session: Session, symbol: str, kind: Any) -> np.ndarray:
    region = session.plan.memory[symbol]
    return session.backend.read(region.offset, region.nbytes).view(kind)


def written(session: Session, batch: FloatBatch, exponent: int) -> None:
    """What stands in the arena are the batch's codes, and zeros behind them."""
    wanted = np.zeros((BATCH, 1, 6, 6, 4), np.int16)
    FloatBatch(batch.values()).fill(exponent, wanted[: len(batch)])
    assert np.array_equal(arena(session, "input", np.int16), wanted.ravel())


def test_images_of_the_next_step_are_made_once(session: Session) -> None:
    one, two, three = Images(1), Images(2), Images(3)
    session.train_step(one, LABELS, SGD, then=two)
    assert (one.fills, two.fills) == (1, 1)
    written(session, one, 3 - 15)
    session.train_step(two, LABELS, SGD, then=three)
    assert (two.fills, three.fills) == (1, 1)
    written(session, two, 3 - 15)
    session.train_step(one, LABELS, SGD)  # others than those that were announced
    assert (one.fills, three.fills) == (2, 1)
    written(session, one, 3 - 15)
    session.train_step(three, LABELS, SGD)
    assert three.fills == 2, "what was made ready for one step is gone behind it"


def test_images_of_another_exponent_are_made_again(session: Session) -> None:
    one, two = Images(1), Images(2)
    session.train_step(one, LABELS, SGD, then=two)
    session.policy.input_k = 4
    session.train_step(two, LABELS, SGD)
    assert two.fills == 2
    written(session, two, 4 - 15)


def test_images_that_cannot_be_made_ready_fail_in_their_own_step(session: Session) -> None:
    one, two = Images(1), Images(2)
    two.fails = True
    session.train_step(one, LABELS, SGD, then=two)
    with pytest.raises(OSError, match="no such file"):
        session.train_step(two, LABELS, SGD)
    two.fails = False
    session.train_step(two, LABELS, SGD)
    written(session, two, 3 - 15)


def test_an_evaluation_between_two_steps_takes_what_it_is_given(session: Session) -> None:
    one, two, few = Images(1), Images(2), Images(3, 2)
    session.train_step(one, LABELS, SGD, then=two)
    outcome, logits = session.evaluate(few, LABELS[:2])
    assert outcome.images == 2 and logits.shape == (2, 3)
    written(session, few, 3 - 15)
    assert arena(session, "labels", np.int64).tolist() == [2, 0, 0, 0]
    session.evaluate(one)
    assert not arena(session, "labels", np.int64).any()
    session.train_step(two, LABELS, SGD)
    written(session, two, 3 - 15)
    assert arena(session, "labels", np.int64).tolist() == LABELS.tolist()


def test_memory_for_images_is_used_again(session: Session) -> None:
    """A journal's worth of steps, however long the training is; one array for evaluations."""
    session.protected(lambda: None)
    batches = [Images(at) for at in range(3)]

    def places() -> set[int]:
        return set().union(*(batch.places for batch in batches))

    for step in range(5):
        session.evaluate(batches[step % 3])
    assert len(places()) == 1
    for step in range(3 * MOST_STEPS):
        now, then = batches[step % 3], batches[(step + 1 + step // 7) % 3]
        session.protected(partial(session.train_step, now, LABELS, SGD, then))
    assert MOST_STEPS // 2 < len(places()) <= MOST_STEPS + 2


@pytest.mark.parametrize("sizes", [(4, 2, 4, 1), (1, 4, 2, 2)])
def test_loss_and_answers_are_those_of_the_images_alone(session: Session, sizes: tuple[int, ...]
                                                        ) -> None:
    """Whatever was evaluated before: neither the images behind the last one nor their number."""
    batches = [Images(at, count) for at, count in enumerate(sizes)]
    alone = [session.evaluate(batch, LABELS[: len(batch)]) for batch in batches]
    values = {id(batch): logits for batch, (_, logits) in zip(batches, alone)}
    for batch, (outcome, _) in zip(batches[::-1], alone[::-1]):
        again, logits = session.evaluate(batch, LABELS[: len(batch)])
        assert again == outcome and np.array_equal(logits, values[id(batch)])
        shifted = logits - logits.max(axis=1, keepdims=True)
        loss = np.log(np.exp(shifted).sum(axis=1)) - shifted[range(len(batch)),
                                                             LABELS[: len(batch)]]
        assert outcome.loss_sum == pytest.approx(loss.sum(), rel=2e-3)
        assert outcome.correct == (logits.argmax(axis=1) == LABELS[: len(batch)]).sum()


def test_large_images_are_run_again_and_the_policy_stays(session: Session) -> None:
    batch, large = Images(1), Images(2, 3, scale=300.0)
    session.calibrate_forward(batch)
    before = session.policy.to_dict()
    assert session.evaluate(batch)[0].again == 0
    outcome, _ = session.evaluate(large)
    assert outcome.again == 3 and outcome.saturations == 0 and not outcome.beyond
    written(session, large, int(np.frexp(np.abs(large.values()).max())[1]) - 15)
    assert session.policy.to_dict() == before
    session.widen(large)
    assert session.policy.input_k > 3 and session.evaluate(large)[0].again == 0
    wide = session.policy.to_dict()
    session.widen(batch)
    assert session.policy.to_dict() == wide, "never narrowed"


def test_a_policy_that_has_changed_is_seen(session: Session) -> None:
    """Exponents are kept from one evaluation to the next, but not those of another policy."""
    batch = Images(1)
    session.calibrate_forward(batch)

    def block_of_the_policy() -> None:
        used = session.policy.exponents(BATCH, training=False)
        session.evaluate(batch)
        params = plan_params(session.plan, used, None)
        block = pack_step_block(session.plan, replace(params, softmax={**params.softmax,
                                                                      "valid": BATCH}))
        found = arena(session, "step_block", np.uint8)
        assert found[: len(block)].tobytes() == block

    block_of_the_policy()
    session.policy.feature[0].append(9)
    block_of_the_policy()
    session.policy.input_k = 7
    block_of_the_policy()
    session.train_step(batch, LABELS, SGD)
    block_of_the_policy()
    session.policy = session.policy.widened(input_k=8)
    block_of_the_policy()


@pytest.mark.parametrize("labelled", [False, True])
def test_calibration_ends_in_any_case(session: Session, labelled: bool,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Where exponents never hold: twice as many runs as layers and two, forwards alone half."""
    policy, calls = session._policy, []

    def restless(*_: object) -> Any:
        calls.append(1)
        fresh = type(policy).start(policy.layers, policy.backward_graph, policy.weight_k,
                                   policy.input_k)
        fresh.w16 = list(policy.w16)
        fresh.feature[0].append(len(calls) % 2)
        return fresh

    monkeypatch.setattr("pynq_train.run.calibration.fresh", restless)
    runs: list[RunRequest] = []
    run = session.backend.run

    def count_runs(request: RunRequest) -> Any:
        runs.append(request)
        return run(request)

    monkeypatch.setattr(session.backend, "run", count_runs)
    images, count = Images(1).values(), len(session.plan.specs)
    if labelled:
        assert session.calibrate(images, LABELS) == len(runs) == 2 * count + 2
    else:
        assert session.calibrate_forward(images) == len(runs) == count + 2


def test_a_run_says_what_it_is_of(session: Session) -> None:
    whole = session.request(session.evaluation)
    assert whole.descriptor_count == session.evaluation.count and not whole.counters
    assert whole.expected_cycles == session._cycles["evaluate"] < session._cycles["train"]
    session.counters = True
    part = session.request(session.training, 3, print)
    assert part.descriptor_count == 3 and part.counters and not part.profile
    assert part.meanwhile is print and part.expected_cycles == session._cycles["train"]
    memory = session.plan.memory
    assert (part.program_offset, part.step_block_offset) == (
        memory["train.program"].offset, memory["step_block"].offset)
    assert len(part.names) == session.training.count and part.names[0] == "forward of conv1"


def test_a_snapshot_is_gone_back_to(session: Session) -> None:
    """Whatever the journal knows: weights, momentum and copies are what they were."""
    session.protected(partial(session.train_step, Images(1), LABELS, SGD))
    saved = {name: data.copy() for name, data in session.snapshot().items()}
    before = session.read_masters()
    session.protected(partial(session.train_step, Images(2), LABELS, SGD))
    assert not all(own.same_bits(before[name]) for name, own in session.read_masters().items())
    session.restore(saved)
    assert all(own.same_bits(before[name]) for name, own in session.read_masters().items())
    assert all(np.array_equal(saved[name], data) for name, data in session.snapshot().items())
    assert session._journal.full, "its steps are none of these weights"


@pytest.mark.parametrize("index", [np.array([3, 1, 7, 2]), slice(2, 6)])
@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_steps_are_done_once_more_with_the_pixels_that_they_had(
        session: Session, index: Any, axes: tuple[int, ...]) -> None:
    """Whatever the user's array holds by then."""
    x = np.random.default_rng(1).integers(0, 256, (9, 6, 6, 2), np.uint8).transpose(axes)
    source = ImageSource(x, SHAPE, ANY_IMAGES)
    steps = [source.batch(one) for one in (index, np.array([0, 5, 4, 8]), index)]
    assert not session._journal.saved
    for one, then in pairwise(steps):
        session.protected(partial(session.train_step, one, LABELS, SGD, then))
    wanted, policy = session.read_masters(), session.policy.to_dict()
    assert len(session._journal.steps) == 2
    x[:] = 0

    def fail() -> None:
        session.train_step(steps[2], LABELS, SGD)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.protected(fail)
    assert all(own.same_bits(wanted[name]) for name, own in session.read_masters().items())
    assert session.policy.to_dict() == policy
