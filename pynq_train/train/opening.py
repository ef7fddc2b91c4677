"""What trains a learner's network, opened: an engine's session, the EF-Train kernel, a fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pynq_train.backends import Backend
from pynq_train.quant import ExponentPolicy
from pynq_train.run.cached import CachedSession
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session
from pynq_train.run.trainer import Trainer
from pynq_train.train.hls import HlsTrainer
from pynq_train.train.planning import Closable, Planned


def open_trainer(planned: Planned, hls: bool, masters: Mapping[str, Masters],
                 policy: ExponentPolicy, open_backend: Callable[[int], Backend]
                 ) -> tuple[Trainer, Closable | None]:
    """Return an open trainer, and what is closed behind it.

    Args:
        planned: the plan, with its programs if a file holds them.
        hls: the EF-Train kernel trains.
        masters: weights by layer name.
        policy: exponent state that belongs to them.
        open_backend: opens a board with so many bytes of memory.

    Raises:
        PynqTrainError: the board cannot be opened.
    """
    opened = planned.open(masters, policy)
    if opened is not None:
        return opened
    plan = planned.plan
    if hls:
        return HlsTrainer(plan, masters, policy), None
    backend = open_backend(plan.memory.nbytes)
    kind = CachedSession if plan.cached else Session
    try:
        return kind(plan, backend, masters, policy, programs=planned.programs), backend
    except BaseException:
        backend.close()
        raise
