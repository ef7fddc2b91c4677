"""The same trainer on golden and on a virtual board between two guards, and what it may do."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends import open_backend
from pynq_train.backends.board import BoardBackend
from pynq_train.backends.vboard import VerilatedModel, make_device, overlay_file
from pynq_train.graph import Graph, Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep
from pynq_train.run import Masters, Session
from pynq_train.run.session import new_policy
from pynq_train.schedule.plan import make_plan

BOARD = BOARDS["pynq-z2"]
GUARD_BYTES = 1 << 16
CLASSES = 5
ACTIONS = ("train", "evaluate", "calibrate")
Array = NDArray[Any]


def nets() -> dict[str, Graph]:
    """Return small networks by name; together they use all units of the engine."""
    plain = Sequential((3, 8, 8)).conv(6, 3, padding=1).relu().pool().dense(CLASSES)
    normed = Sequential((2, 6, 6)).conv(8, 3, padding=1).norm().relu().conv(
        8, 3, padding=1, groups=8).norm().relu().dropout(0.25).dense(CLASSES)
    deep = Sequential((1, 8, 8)).conv(4, 3, stride=2, padding=1).norm().relu().conv(
        7, 1).relu().pool().dense(9).relu().dense(CLASSES)
    return {"plain": plain.build(), "normed": normed.build(), "deep": deep.build()}


class Bench:
    """A session on golden and one on a virtual board, from the same weights.

    Args:
        net: the network.
        batch: images of a mini-batch.
        seed: draws weights, images and labels.
    """

    def __init__(self, net: Graph, batch: int, seed: int) -> None:
        layers = fuse(net)
        self.plan = make_plan(layers, batch, BOARD)
        nbytes = self.plan.memory.nbytes
        masters = {name: Masters.of(own) for name, own in init_params(layers, seed).items()}
        draw = np.random.default_rng(seed)
        self.images = draw.standard_normal((batch, *net.input_shape)).astype(np.float32)
        self.labels = draw.integers(0, CLASSES, batch)
        self.device: Any = make_device(BOARD, seed=seed)
        before = self.device.dram.allocate(GUARD_BYTES)
        self.board: Any = BoardBackend(BOARD, nbytes, overlay_file(BOARD), self.device).open()
        behind = self.device.dram.allocate(GUARD_BYTES)
        self._guards = [self.device.dram.view(at, GUARD_BYTES) for at in (before, behind)]
        for guard in self._guards:
            guard[:] = draw.integers(0, 256, GUARD_BYTES, np.uint8)
        self._kept = [guard.copy() for guard in self._guards]
        self.golden, self.real = (
            Session(self.plan, backend, masters, new_policy(self.plan, masters, 2),
                    fill_seed=seed)
            for backend in (open_backend("golden", nbytes), self.board))
        self.actions = 0
        for session in (self.golden, self.real):
            session.calibrate(self.images, self.labels)
        wrong = self.check()
        if wrong:
            raise AssertionError(f"an undisturbed run: {wrong}")

    @property
    def model(self) -> VerilatedModel:
        """The simulated engine as it is now: another one behind a reload."""
        model = self.device.model
        assert isinstance(model, VerilatedModel)
        return model

    def cycles(self, action: str) -> int:
        """Return the predicted cycles of one run of an action."""
        program = self.real.evaluation if action == "evaluate" else self.real.training
        return self.real.request(program).expected_cycles

    def do(self, session: Session, action: str) -> Any:
        """Let a session do an action; what comes out can be compared with ``==``.

        The images follow the number of actions that both sessions have done.
        """
        images = np.roll(self.images, self.actions, axis=0)
        if action == "train":
            sgd = SgdStep(lr=0.05, momentum=0.9, decay=1e-3)
            said = session.protected(lambda: session.train_step(images, self.labels, sgd))
            return said.loss_sum, said.correct
        if action == "calibrate":
            return session.calibrate(images, self.labels)
        outcome, logits = session.protected(lambda: session.evaluate(images, self.labels))
        return outcome.loss_sum, outcome.correct, logits.tobytes()

    def follow(self, action: str, theirs: Any, whole: bool = True) -> str:
        """Let golden do what the board has done; return what differs, empty if nothing does.

        Args:
            action: the action.
            theirs: what came out on the board.
            whole: compare all of the memory as well; behind an action that failed it differs.
        """
        mine = self.do(self.golden, action)
        self.actions += 1
        if mine != theirs:
            return "results differ from golden's"
        if not whole:
            return ""
        size = self.plan.memory.nbytes
        if not np.array_equal(self.golden.backend.read(0, size), self.board.read(0, size)):
            return "memory differs from golden's"
        return "" if self.guarded() else "memory outside the arena was written"

    def check(self) -> str:
        """Undisturbed runs of both programs; return what differs from golden, empty if nothing."""
        for action, whole in (("evaluate", False), ("train", False), ("train", True)):
            wrong = self.follow(action, self.do(self.real, action), whole)
            if wrong:
                return f"{action}: {wrong}"
        return ""

    def guarded(self) -> bool:
        """Return whether nothing was written beside the arena."""
        return all(np.array_equal(a, b) for a, b in zip(self._guards, self._kept))

    def weights(self) -> str:
        """Return what differs from golden in the weights and exponents, empty if nothing does."""
        mine, theirs = self.golden.snapshot(), self.real.snapshot()
        wrong = [name for name, data in mine.items() if not np.array_equal(data, theirs[name])]
        if wrong:
            return f"{', '.join(wrong)} changed"
        same = self.golden.policy.to_dict() == self.real.policy.to_dict()
        return "" if same else "the exponents changed"

    def beat(self, rng: random.Random, action: str) -> tuple[int, bool, int]:
        """Draw a port, a direction (True: write) and a beat of an action on it."""
        first = [self.model.port_counters(port) for port in range(4)]
        self.follow(action, self.do(self.real, action))
        last = [self.model.port_counters(port) for port in range(4)]
        found = []
        for port, (a, b) in enumerate(zip(first, last)):
            found += [(port, False, b.read_beats - a.read_beats),
                      (port, True, b.write_beats - a.write_beats)]
        port, write, count = rng.choice([one for one in found if one[2]])
        return port, write, rng.choice((0, count - 1, rng.randrange(count)))

    def close(self) -> None:
        """Power down, whatever state it is in."""
        for close in (self.board.close, self.device.close, self.golden.backend.close):
            try:
                close()
            except Exception as error:  # what is broken is not used again
                print(f"closing a bench: {error}")  # noqa: T201
