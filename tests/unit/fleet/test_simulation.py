"""Simulated pipelines: against formulas, against threads that sleep, failures, batteries."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pynq_train.errors import BadInput, MissingTool
from pynq_train.fleet.link import Link
from pynq_train.fleet.power import Power
from pynq_train.fleet.simulation.pipeline import Failures, Pipeline, Result, SimStage, steady_rate
from pynq_train.fleet.simulation.simulate import simulate
from pynq_train.fleet.simulation.sleeping import sleep_through
from pynq_train.fleet.splits.split import Setting, Split, Stage

POWER = Power(3.0, 1.0, 2.0)


def drawn(seed: int) -> tuple[Pipeline, Split]:
    """A pipeline and the split that it is of, with times drawn at random, perhaps branches."""
    rng = np.random.RandomState(seed)
    setting = Setting(Link(1e6, float(rng.choice([0.0, 0.002]))), POWER,
                      float(rng.choice([0.0, 0.001, 0.004])))
    count, ways = int(rng.randint(1, 6)), 1
    if count > 1:
        ways = int(rng.choice([1, 2, 4]))
    stages = []
    for at in range(count):
        seconds = float(rng.uniform(0.001, 0.05))
        stages.append(Stage(at, at + 1, f"s{at}", "b", ways if at == 0 else 1, 1, seconds,
                            int(rng.randint(0, 40_000)) if at else 0,
                            (ways if at == 1 else 1) if at else 0, int(at < count - 1), 0))
    split = Split(tuple(stages), setting, int(rng.randint(1, 4)))
    return Pipeline.of(split, queue=100), split


@pytest.mark.parametrize("seed", range(12))
def test_the_simulator_has_the_period_of_the_formulas(seed: int) -> None:
    """Where queues are long, a pipeline is as fast as its busiest board or port."""
    pipeline, split = drawn(seed)
    found = simulate(pipeline, 120)
    assert pipeline.boards == split.boards == found.boards
    assert found.images_per_s == pytest.approx(split.images_per_s, rel=0.02)
    assert found.images == 120 * split.batch and found.lost == 0


@pytest.mark.parametrize("seed", range(12))
def test_latency_and_energy_of_the_formulas(seed: int) -> None:
    """Frames with time between them never wait; the energy is that of work and idleness."""
    pipeline, split = drawn(seed)
    interval = 2 * split.latency_s
    found = simulate(pipeline, 10, interval_s=interval)
    # Parts of branches come one after the other through one port.
    assert found.latencies_s == pytest.approx([found.latencies_s[0]] * 10)
    host, first = split.setting.host_s, split.stages[0]
    expected = split.latency_s
    if first.ways > 1:  # the board behind handles the first parts while others are on their way
        wire = split.setting.wire_busy_s(split.stages[1].in_bytes) / first.ways
        expected -= (first.ways - 1) * min(wire, host)
    assert found.latency(0.5) == pytest.approx(expected)
    for at, (joules, stage) in enumerate(zip(found.stage_j, split.stages)):
        messages = sum(pipeline.messages(at))
        wanted = POWER.energy(10 * stage.compute_s, 10 * messages * host, found.seconds)
        assert joules == pytest.approx(wanted)


def test_short_queues_hold_up_a_pipeline() -> None:
    """A link with a latency needs messages on their way: with one, it waits for each."""
    stages = (SimStage("a", 0.010), SimStage("b", 0.010, 1, 0.001, 0.050))
    fast = simulate(Pipeline(stages, POWER, queue=10), 100)
    slow = simulate(Pipeline(stages, POWER, queue=1), 100)
    assert fast.images_per_s == pytest.approx(100, rel=0.01)
    assert slow.images_per_s == pytest.approx(1 / 0.051, rel=0.02)


def test_copies_are_like_one() -> None:
    pipeline, _ = drawn(1)
    one, many = simulate(pipeline, 20), simulate(pipeline, 20, copies=7)
    assert many.boards == 7 * one.boards and many.images == 7 * one.images
    assert many.images_per_s == pytest.approx(7 * one.images_per_s)
    assert many.stage_j == one.stage_j and len(many.latencies_s) == 7 * len(one.latencies_s)


def test_a_thousand_boards_that_fail() -> None:
    pipeline = Pipeline((SimStage("a", 1.0), SimStage("b", 1.2, 1, 0.1)), POWER)
    failures = Failures(60.0, notice_s=2.0, repair_s=20.0, seed=4)
    found = simulate(pipeline, 5, copies=500, failures=failures)
    assert found.boards == 1000 and found.failures > 50
    # A frame ends or is lost; a failure loses what is under way: two boards, a queue, a port.
    assert found.images + found.lost == 500 * 5
    assert 0 < found.lost <= found.failures * 6
    assert found.images_per_s < 500 / 1.2


def test_the_seed_names_the_failures() -> None:
    pipeline = Pipeline((SimStage("a", 1.0), SimStage("b", 1.2, 1, 0.1)), POWER)
    failures = Failures(60.0, notice_s=2.0, repair_s=20.0, seed=4)
    found = simulate(pipeline, 30, copies=3, failures=failures)
    assert simulate(pipeline, 30, copies=3, failures=failures) == found
    assert simulate(pipeline, 30, copies=3, failures=replace(failures, seed=5)) != found


def test_failures_take_about_their_share_of_the_time() -> None:
    """With rare failures the rate falls by downtime over time between failures."""
    pipeline = Pipeline((SimStage("a", 0.5), SimStage("b", 1.0)), POWER)
    found = simulate(pipeline, 1500, copies=10, failures=Failures(400.0, 1.0, 19.0, 1))
    # Two boards: a failure every 200 s in the mean, then 20 s without one, then some frames anew.
    # The rate counts to the end of the last pipeline: a little less than the mean of all.
    assert found.images_per_s / 10 == pytest.approx(200 / 222, rel=0.06)
    assert found.failures == pytest.approx(10 * 1500 / 200, rel=0.3)


def test_a_dead_board_draws_nothing() -> None:
    pipeline = Pipeline((SimStage("a", 1.0),), Power(3.0, 1.0))
    found = simulate(pipeline, 50, failures=Failures(20.0, 1.0, 9.0, 2))
    dead = 10.0 * found.failures
    assert found.failures and found.stage_j[0] == pytest.approx(3.0 * (found.seconds - dead))


def test_an_empty_battery_ends_a_pipeline() -> None:
    pipeline = Pipeline((SimStage("a", 0.1), SimStage("b", 0.2)), Power(4.0, 1.0))
    found = simulate(pipeline, 10_000, battery_j=100.0)
    # Board b works nearly all the time: 4 W.
    assert found.empty_s == pytest.approx(25.0, rel=0.02)
    assert found.images == pytest.approx(25.0 / 0.2, rel=0.03)
    assert simulate(pipeline, 20, battery_j=1e6).empty_s is None


def best(pipeline: Pipeline, frames: int, wanted: Result, interval_s: float = 0.0
         ) -> tuple[float, float]:
    """Measured images a second and latency: the best of runs of sleeping threads.

    Threads oversleep where the machine has other work, and never wake too early: the best of some
    runs is nearest to what would be without that. No more are made than are needed.
    """
    rates, latencies = [0.0], [float("inf")]
    for _ in range(8):
        run = sleep_through(pipeline, frames, interval_s)
        rates.append(run.images_per_s)
        latencies.append(run.latency(0.5))
        near = max(rates) / wanted.images_per_s, min(latencies) / wanted.latency(0.5)
        if near[0] > 0.96 and (not interval_s or near[1] < 1.04):
            break
    return max(rates), min(latencies)


# Long enough for a machine on which much else runs: a sleep takes some milliseconds more there.
SLEEPS = {
    "2 stages": (SimStage("a", 0.100), SimStage("b", 0.140, 1, 0.060, 0.040)),
    "2 stages, link": (SimStage("a", 0.080), SimStage("b", 0.100, 1, 0.160, 0.040)),
    "4 stages": (SimStage("a", 0.100), SimStage("b", 0.120, 1, 0.040, 0.020),
                 SimStage("c", 0.160, 1, 0.120), SimStage("d", 0.080, 1, 0.040)),
    "branches": (SimStage("a", 0.160, 2), SimStage("b", 0.100, 1, 0.080, 0.040)),
}


@pytest.mark.medium
@pytest.mark.parametrize("stages", SLEEPS.values(), ids=SLEEPS.keys())
def test_the_simulator_agrees_with_threads_that_sleep(stages: tuple[SimStage, ...]) -> None:
    """Within 5 %: images a second where frames queue up, latency where they do not."""
    pipeline = Pipeline(stages, POWER, 0.020)
    simulated = simulate(pipeline, 12)
    measured, _ = best(pipeline, 12, simulated)
    assert simulated.images_per_s == pytest.approx(measured, rel=0.05)
    interval = 1.5 / simulated.images_per_s
    alone = simulate(pipeline, 6, interval_s=interval)
    _, latency = best(pipeline, 6, alone, interval)
    assert alone.latency(0.5) == pytest.approx(latency, rel=0.05)


def test_a_thread_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynq_train.fleet.simulation.sleeping._WAIT_S", 0.2)

    def fail(seconds: float) -> None:
        raise OSError("no sleep")

    monkeypatch.setattr("pynq_train.fleet.simulation.sleeping.time.sleep", fail)
    with pytest.raises(RuntimeError, match="no sleep"):
        sleep_through(Pipeline((SimStage("a", 0.01), SimStage("b", 0.01)), POWER), 3)


def test_latencies_and_rates() -> None:
    found = Result("measured", 1, 4, 0, 1.0, 1.0, (0.4, 0.1, 0.3, 0.2))
    assert [found.latency(part) for part in (0.0, 0.25, 0.5, 0.75, 1.0)] == [
        0.1, 0.1, 0.2, 0.3, 0.4]
    assert steady_rate([1.0, 1.5, 2.0], 3) == 6.0
    assert np.isnan(steady_rate([1.0], 1)) and np.isnan(steady_rate([1.0, 1.0], 1))
    values = found.to_dict()
    assert values["latency_s"] == {"median": 0.2, "p95": 0.4, "most": 0.4}


ONE = Pipeline((SimStage("a", 0.1),), POWER)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Pipeline((), POWER), "pipeline: expected one stage or more"),
    (lambda: Pipeline((SimStage("a", 0.0),), POWER), "expected a stage that takes time"),
    (lambda: Pipeline((SimStage("a", -1.0),), POWER), "stage 'a': seconds: expected 0 seconds"),
    (lambda: Pipeline((SimStage("a", 1.0), SimStage("b", 1.0, 1, -1.0)), POWER),
     "stage 'b': link: expected 0 seconds or more"),
    (lambda: Pipeline((SimStage("a", 1.0), SimStage("b", 1.0, 2)), POWER),
     "expected branches in the first stage alone"),
    (lambda: Pipeline((SimStage("a", 1.0, 2),), POWER), "and a stage behind them"),
    (lambda: Pipeline((SimStage("a", 1.0, 0),), POWER), "expected an integer of 1 or more"),
    (lambda: Pipeline(ONE.stages, POWER, queue=0), "queue: expected an integer of 1 or more"),
    (lambda: Pipeline(ONE.stages, POWER, float("nan")), "host time per message"),
    (lambda: Failures(0.0), "mean time between failures: expected more than 0 seconds"),
    (lambda: Failures(1.0, -1.0), "until a failure is noticed: expected 0 seconds or more"),
    (lambda: Failures(1.0, 1.0, -1.0), "time of a repair: expected 0 seconds or more"),
    (lambda: simulate(ONE, 0), "frames: expected an integer of 1 or more, found 0"),
    (lambda: simulate(ONE, 1, copies=1001), "simulated boards: expected at most 1000, found 1001"),
    (lambda: simulate(ONE, 1, copies=0), "copies: expected an integer of 1 or more"),
    (lambda: simulate(ONE, 1, interval_s=-1.0), "interval: expected 0 seconds or more"),
    (lambda: simulate(ONE, 1, battery_j=0.0), "battery: expected more than 0 joules"),
    (lambda: sleep_through(ONE, 1), "frames: expected an integer of 2 or more"),
])
def test_refusals(call: Callable[[], object], words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)):
        call()


def test_without_simpy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_simpy(name: str, *rest: Any, **more: Any) -> Any:
        if name == "simpy":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_simpy)
    with pytest.raises(MissingTool, match="fleets are simulated by simpy: expected simpy, found "):
        simulate(ONE, 2)
