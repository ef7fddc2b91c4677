"""PGO run: one training step on a given library, for the compiler's profile.

The virtual board is compiled twice; the second time with what this run has shown (profile-guided
optimisation, ``backends.vboard.build``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pynq_train.backends.vboard import VirtualBoardBackend
from pynq_train.backends.vboard.build import default_source
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.config import package_path
from pynq_train.layers.fuse import fuse
from pynq_train.layers.init import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import make_plan

NET, BATCH = "1x", 1


def board_of_package(package: str) -> Board:
    """Return a board whose configuration a contract package holds.

    ``package``: path of the package; empty: the board with the smallest configuration.
    """
    fitting = [b for b in BOARDS.values() if package.endswith(package_path(b.config))]
    # The path of the smallest configuration is the end of no other one: "gen/" stands before it.
    return fitting[0] if fitting else BOARDS["pynq-z2"]


def main(library: str, package: str = "") -> None:
    """Train one batch of random images on the model in the file ``library``.

    Args:
        library: a compiled engine.
        package: path of the contract package that it was built with.
    """
    board = board_of_package(package)
    layers = fuse(zoo.get(NET))
    plan = make_plan(layers, BATCH, board)
    masters = {name: Masters.of(params) for name, params in init_params(layers, 0).items()}
    draw = np.random.default_rng(0)
    images = draw.standard_normal((BATCH, *layers[0].in_shape)).astype(np.float32)
    labels = draw.integers(0, plan.classes, BATCH)
    source = replace(default_source(), library=Path(library))
    with VirtualBoardBackend(board, plan.memory.nbytes, source=source) as backend:
        session = Session(plan, backend, masters, new_policy(plan, masters, 2))
        session.train_step(images, labels, SgdStep(lr=0.01, momentum=0.9, decay=0.0))
