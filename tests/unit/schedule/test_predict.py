"""The cycle model by itself: bounds that no engine can beat, skipped periods, limits, gradients.

Its comparison with the RTL is in tests/system/test_cycle_model.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pynq_train.cycles import Command, Engine
from pynq_train.cycles import engine as engine_module
from pynq_train.cycles import skip as skip_module
from pynq_train.cycles.compute import Sweeps
from pynq_train.cycles.engine import FIRST, OVERLAPPED
from pynq_train.graph import zoo
from pynq_train.graph.activation import Activation
from pynq_train.graph.windows import Pair
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Opcode, Semaphore
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.layers import kinds
from pynq_train.layers.fuse import FusedLayer, fuse
from pynq_train.schedule.lower.conv import LayerAddresses, lower
from pynq_train.schedule.passes.geometry import (
    PassShape,
    TiledPass,
    forward_shape,
    weight_gradient_shape,
)
from pynq_train.schedule.passes.tiling import best_tile
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.predict import estimate, predict
from pynq_train.schedule.specs.spec import layer_specs

BOARD = BOARDS["pynq-z2"]
MEMORY = MemoryTiming(BOARD.dram_bytes_per_cycle)
AT = LayerAddresses(*(index << 24 for index in range(9)))


def layer(m: int, n: int, size: int, kernel: int = 3) -> FusedLayer:
    return FusedLayer(kind=kinds.CONV, name="c", in_shape=(n, size, size),
                      out_shape_before_pool=(m, size, size), out_shape=(m, size, size),
                      kernel=Pair.of(kernel), pad_top=kernel // 2, pad_left=kernel // 2,
                      activation=Activation.RELU, bias=True)


def tail(head: FusedLayer) -> FusedLayer:
    return FusedLayer(kind=kinds.DENSE, name="d", in_shape=head.out_shape,
                      out_shape_before_pool=(2, 1, 1), out_shape=(2, 1, 1), bias=True)


def shape(m: int, n: int, size: int, batch: int, forward: bool, kernel: int = 3) -> PassShape:
    head = layer(m, n, size, kernel)
    spec = layer_specs((head, tail(head)), batch)[0]
    return forward_shape(spec) if forward else weight_gradient_shape(spec)


def command(tiled: TiledPass) -> Command:
    fields, _ = lower(tiled, AT)
    return Command(fields, tuple(tap.weight for tap in tiled.shape.taps))


def gradient(tiled: TiledPass, plain: bool) -> Command:
    """The weight gradient with its update in one descriptor."""
    fields = {name: value for name, value in lower(tiled, AT)[0].items()
              if not name.startswith("yw.")}
    spec = tiled.shape.spec
    weights = spec.weight_blocks * 64
    fields.update({"pre.opcode": Opcode.GRADIENT, "pre.signal": Semaphore.UPDATE, "y.yc0": 0,
                   "y.ylim0": spec.kernel.cols, "u.wv_off": 1 << 27, "u.w16_off": 1 << 28,
                   "u.u_count": weights, "u.u_copy": 1, "u.u_plain": int(plain)})
    counts = [fields[f"y.y{t}"] for t in range(5)]
    for t in range(5):   # column 3 further per group of kernel columns, back to 0 behind the last
        fields[f"y.ydc{4 * t}"] = 3 if t == 0 else -3 * (counts[0] - 1)
    return Command(fields, tuple(tap.weight for tap in tiled.shape.taps))


def run(commands: list[Command], memory: MemoryTiming = MEMORY) -> tuple[int, Engine]:
    gradients = any(c.opcode == Opcode.GRADIENT for c in commands)
    engine = Engine(commands, BOARD.config, memory, OVERLAPPED if gradients else None)
    return engine.run(), engine


def test_an_array_bound_pass_takes_little_more_than_its_sweeps() -> None:
    tiled, _ = best_tile(shape(32, 32, 32, 4, forward=True), BOARD)
    work = Sweeps.of(command(tiled).fields, BOARD.config.sweep_min_cycles)
    least = work.tiles * work.sweeps * work.period
    cycles, engine = run([command(tiled)])
    assert least < cycles < 1.05 * least
    assert engine.traces[0].waits.busy == pytest.approx(least, rel=0.03)


def test_latency_and_bandwidth_cost_cycles() -> None:
    tiled, _ = best_tile(shape(16, 64, 8, 1, forward=True), BOARD)
    base, _ = run([command(tiled)])
    assert run([command(tiled)], replace(MEMORY, read_latency_cycles=100))[0] > base
    assert run([command(tiled)], replace(MEMORY, bytes_per_cycle=4))[0] > 1.5 * base


@pytest.mark.parametrize("forward", [True, False])
def test_skipped_periods_are_what_is_simulated(monkeypatch: pytest.MonkeyPatch,
                                               forward: bool) -> None:
    tiled, _ = best_tile(shape(48, 16, 16, 24, forward), BOARD)
    short, engine = run([command(tiled)])
    monkeypatch.setattr(skip_module, "FEWEST", 1 << 30)
    whole, full = run([command(tiled)])
    assert engine.clock.skipped > whole // 2 and full.clock.skipped == 0
    assert short == pytest.approx(whole, rel=2e-3)
    assert engine.bytes_read == pytest.approx(full.bytes_read, rel=2e-3)
    assert engine.bytes_written == pytest.approx(full.bytes_written, rel=2e-2)


@pytest.mark.parametrize(("plain", "cycles_per_weight"), [(False, 18 / 16), (True, 1.0)])
def test_update_bound_gradient_takes_its_masters_time(plain: bool,
                                                      cycles_per_weight: float) -> None:
    tiled, _ = best_tile(shape(64, 64, 4, 1, forward=False), BOARD)
    one = gradient(tiled, plain)
    weights = one.fields["u.u_count"]
    cycles, engine = run([one], replace(MEMORY, bytes_per_cycle=64))
    assert cycles_per_weight * weights < cycles < 1.1 * cycles_per_weight * weights + 1500
    assert run([one])[0] > (1.0 if plain else 1.2) * cycles   # 36 words per 16 weights
    masters = weights * (4 if plain else 8)
    assert engine.writes[3].beats * 8 == masters + 32
    assert engine.reads[3].beats * 8 == masters


def test_array_bound_gradient_hides_the_update() -> None:
    tiled, _ = best_tile(shape(16, 16, 32, 16, forward=False), BOARD)
    alone, _ = run([command(tiled)])
    cycles, engine = run([gradient(tiled, plain=False)])
    assert cycles == pytest.approx(alone, rel=0.03)
    assert engine.queue.used == 0


def test_skipped_gradients_take_their_updates_along(monkeypatch: pytest.MonkeyPatch) -> None:
    tiled, _ = best_tile(shape(256, 64, 8, 8, forward=False), BOARD)
    short, engine = run([gradient(tiled, plain=True)])
    monkeypatch.setattr(skip_module, "FEWEST", 1 << 30)
    whole, _ = run([gradient(tiled, plain=True)])
    assert engine.clock.skipped > 0
    assert short == pytest.approx(whole, rel=0.01)


def test_overlapped_builds_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    tiled, _ = best_tile(shape(16, 16, 16, 1, forward=True), BOARD)
    commands = [command(tiled)] * 6
    monkeypatch.setattr(engine_module, "BUILD", FIRST)
    before, _ = run(commands)
    monkeypatch.setattr(engine_module, "BUILD", OVERLAPPED)
    after, engine = run(commands)
    assert after < before
    assert [t.end for t in engine.traces] == sorted(t.end for t in engine.traces)


def test_a_program_that_never_ends_is_named() -> None:
    tiled, _ = best_tile(shape(16, 16, 8, 1, forward=True), BOARD)
    one = command(tiled)
    stuck = Command({**one.fields, "pre.wait_x": 1}, one.taps)
    with pytest.raises(RuntimeError, match="stopped at descriptor 0"):
        run([stuck])


def test_predictions_of_a_step() -> None:
    plan = make_plan(fuse(zoo.get("lenet5")), 4, BOARD)
    step, evaluation = predict(plan, plan.train), predict(plan, plan.evaluate)
    assert step.cycles > evaluation.cycles > 0
    assert len(step.limits) == len(plan.train)
    # Records of one unit follow each other.
    for updates in (False, True):
        ends = [end for descriptor, end in zip(plan.train, step.ends)
                if (descriptor.role.opcode in (Opcode.GRADIENT, Opcode.UPDATE)) == updates]
        assert ends == sorted(ends)
    assert all(start < end for start, end in zip(step.starts, step.ends))
    assert set(step.limits) <= {"array", "bandwidth", "S reload", "latency", "update"}
    assert step.macs == plan.macs_per_step
    slower = predict(plan, plan.train,
                     MemoryTiming(BOARD.dram_bytes_per_cycle, read_latency_cycles=100))
    assert slower.cycles > step.cycles
    assert 0.5 * step.cycles < estimate(plan, plan.train) < 3 * step.cycles


def test_limits_name_the_cause() -> None:
    wide = make_plan(fuse(zoo.get("1x")), 16, BOARD)
    assert predict(wide, wide.evaluate).limits[1] == "array"
    # A dense layer of one image reads each weight for one product.
    narrow = make_plan(fuse(zoo.get("lenet5")), 1, BOARD)
    dense = next(i for i, e in enumerate(narrow.evaluate) if narrow.specs[e.layer].dense)
    assert predict(narrow, narrow.evaluate).limits[dense] in ("S reload", "array")


def test_who_waits_is_told_of_each_descriptor() -> None:
    plan = make_plan(fuse(zoo.get("digits")), 4, BOARD)
    told: list[int] = []
    found = predict(plan, plan.train, retired=lambda: told.append(1))
    assert len(told) == len(plan.train)
    assert predict(plan, plan.train, retired=lambda: told.append(1)) is found
    assert len(told) == len(plan.train)  # it was there
    assert predict(make_plan(fuse(zoo.get("digits")), 4, BOARD), plan.train) == found
