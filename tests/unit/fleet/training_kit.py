"""Training with a digest behind each step, to compare trainers bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from pynq_train.backends import open_backend
from pynq_train.backends.names import GOLDEN
from pynq_train.check.options import Options
from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.cut import Cut
from pynq_train.graph import Graph
from pynq_train.layers import init_params
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.run.tensors import to_tensors
from pynq_train.run.trainer import Trainer
from pynq_train.schedule.plan import Plan


def digest(trainer: Trainer) -> str:
    """SHA-256 of masters, momentum, running statistics and exponents."""
    found = hashlib.sha256(json.dumps(trainer.policy.to_dict(), sort_keys=True).encode())
    for name, array in to_tensors(trainer.read_masters()).items():
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def data(plan: Plan, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, step])
    images = rng.standard_normal((plan.batch, *plan.layers[0].in_shape)).astype(np.float32)
    return images, rng.integers(0, plan.classes, plan.batch)


def train(trainer: Trainer, seed: int, steps: int, before: Callable[[int], None] = lambda _: None
          ) -> list[str]:
    """Train, and return the digest behind each step, and that of an evaluation."""
    options = Options.of(seed)
    found = []
    trainer.prepare(*data(trainer.plan, seed, 0), INPUT_START)
    for step in range(steps):
        before(step)
        sgd = options.sgd(seed, step, trainer.plan.batch)
        images, labels = data(trainer.plan, seed, step)
        outcome = trainer.protected(lambda images=images, labels=labels, sgd=sgd:  # type: ignore
                                    trainer.train_step(images, labels, sgd))
        found.append(f"{outcome.loss_sum} {digest(trainer)}")
    outcome, logits = trainer.evaluate(*data(trainer.plan, seed, steps))
    return [*found, f"{outcome.loss_sum} {outcome.correct} {logits.tolist()}"]


def start_masters(net: Graph, seed: int) -> dict[str, Masters]:
    """Start weights of a network."""
    return {name: Masters.of(own)
            for name, own in init_params(Cut.of(net, ()).layers, seed).items()}


def train_whole(net: Graph, batch: int, seed: int, steps: int) -> list[str]:
    """What :func:`train` returns of the whole network on one golden board."""
    with ExitStack() as stack:
        return train(whole_session(stack, net, batch, seed), seed, steps)


def whole_session(to: ExitStack, net: Graph, batch: int, seed: int) -> Session:
    """The whole network on one golden board, which ``to`` closes."""
    plan = SegmentPlans.of(Cut.of(net, ()), GOLDEN, batch).whole
    masters = start_masters(net, seed)
    backend = to.enter_context(open_backend(GOLDEN, plan.memory.nbytes))
    return Session(plan, backend, masters, new_policy(plan, masters, INPUT_START))
