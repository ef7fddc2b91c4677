"""One learner, many callers: threads in turn, forked processes, copies."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput
from pynq_train.train.turns import Turns


@pytest.fixture(name="learner")
def _learner() -> pt.Learner:
    net = pt.Sequential((1, 12, 12)).conv(8, 3, padding=1).relu().pool().dense(4).build()
    return pt.Learner(net, batch=8, optimizer=pt.SGD(0.01))


def images(count: int = 32) -> Any:
    return np.random.default_rng(5).standard_normal((count, 1, 12, 12)).astype(np.float32)


def test_threads_get_right_answers_beside_a_training(learner: pt.Learner) -> None:
    x = images()
    parts = [x[at:at + 8] for at in range(0, 32, 8)]
    wanted = [learner.logits(part) for part in parts]
    wrong: list[str] = []

    def ask(part: Any, answer: Any) -> None:
        for _ in range(12):
            try:
                if not np.array_equal(learner.logits(part), answer):
                    wrong.append("another answer")
            except Exception as error:  # a thread's error would be printed, and forgotten
                wrong.append(repr(error))

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(parts, wanted)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    alone = copy.deepcopy(learner)
    alone.fit(x, np.arange(32) % 4, progress=False)
    thread = threading.Thread(target=lambda: [learner.predict(x) for _ in range(5)])
    thread.start()
    learner.fit(x, np.arange(32) % 4, progress=False)
    thread.join()
    for name, own in learner.masters.items():
        assert own.same_bits(alone.masters[name])


def test_calls_wait_for_each_other() -> None:
    turns, order = Turns(), []

    def late() -> None:
        with turns:
            order.append("late")

    with turns, turns:  # its holder may take it again
        thread = threading.Thread(target=late)
        thread.start()
        time.sleep(0.05)
        order.append("early")
    thread.join()
    assert order == ["early", "late"]
    assert isinstance(pickle.loads(pickle.dumps(turns)), Turns)


def _child(learner: pt.Learner, x: Any, queue: Any) -> None:
    try:
        queue.put(learner.logits(x))
    except BadInput as error:
        queue.put(str(error))


def in_a_fork(learner: pt.Learner, x: Any) -> Any:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(learner, x, queue))
    child.start()
    try:
        return queue.get(timeout=60)
    finally:
        child.join(10)
        child.kill()


def test_a_forked_process_computes_the_same(learner: pt.Learner) -> None:
    x = images()
    wanted = learner.logits(x)
    with learner._turns:  # as a thread that the child does not have would hold it
        assert np.array_equal(in_a_fork(learner, x), wanted)


def test_a_forked_process_may_not_use_an_open_board(learner: pt.Learner) -> None:
    x = images()
    learner.predict(x)
    learner.board = "pynq-z2"
    assert in_a_fork(learner, x) == (
        "learner on pynq-z2 in a forked process: expected the process that has opened the board; "
        "close it before the fork, or load a saved one in the new process")
