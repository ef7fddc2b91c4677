"""Simulated pipelines of boards, by simpy.

A board takes a message of each board in front of it, handles and computes, handles what it sends,
and goes on while its port sends that. A connection holds a bounded number of messages: a port waits
until the board behind it has room. What several ports send to one board goes through its one port.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pynq_train.errors import BadInput, MissingTool
from pynq_train.fleet.simulation.pipeline import Failures, Pipeline, Result, steady_rate

MOST_BOARDS = 1000
Events = Generator[Any, Any, None]
"""What a process of simpy yields."""


def need_simpy() -> Any:
    """Return the package simpy.

    Raises:
        MissingTool: it is not installed.
    """
    try:
        import simpy
    except ImportError:
        raise MissingTool("fleets are simulated by simpy", expected="simpy", found="none",
                          fix="run: pip install 'pynq-train[fleet]'") from None
    return simpy


@dataclass
class _Meter:
    """Seconds in which a board has computed and handled messages, and in which it was dead."""

    compute_s: float = 0.0
    host_s: float = 0.0
    dead_s: float = 0.0


@dataclass
class _Record:
    """What becomes of the frames of one pipeline.

    Attributes:
        begun: frames that the first stage has taken.
        started: when each frame that is under way began.
        ends: when each frame ended.
        latencies: how long each took.
        lost: frames that were lost.
        failures: how many there were.
        empty_s: when the first battery was empty.
    """

    begun: int = 0
    started: dict[int, float] = field(default_factory=dict)
    ends: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    lost: int = 0
    failures: int = 0
    empty_s: float | None = None


def simulate(pipeline: Pipeline, frames: int, *, copies: int = 1, interval_s: float = 0.0,
             failures: Failures | None = None, battery_j: float | None = None) -> Result:
    """Return what pipelines do with frames.

    Args:
        pipeline: the pipeline.
        frames: frames of each pipeline.
        copies: pipelines side by side, each with frames of its own.
        interval_s: seconds from one frame to the next; 0: the next one is always there.
        failures: how boards fail (default: never).
        battery_j: joules of a board's battery; a pipeline ends when one is empty.

    Raises:
        BadInput: a figure is out of range; more than :data:`MOST_BOARDS` boards.
        MissingTool: simpy is not installed.
    """
    for what, value in (("frames", frames), ("copies", copies)):
        if type(value) is not int or value < 1:
            raise BadInput(what, expected="an integer of 1 or more", found=repr(value))
    if not 0 <= interval_s < float("inf"):
        raise BadInput("interval", expected="0 seconds or more", found=f"{interval_s:g}")
    if battery_j is not None and not 0 < battery_j < float("inf"):
        raise BadInput("battery", expected="more than 0 joules", found=f"{battery_j:g}")
    boards = copies * pipeline.boards
    if boards > MOST_BOARDS:
        raise BadInput("simulated boards", expected=f"at most {MOST_BOARDS}", found=boards)
    simpy = need_simpy()
    env = simpy.Environment()
    # Without failures nothing is drawn: one pipeline does what all others do.
    count = copies if failures is not None else 1
    runs = [_Run(simpy, env, pipeline, frames, interval_s, failures, battery_j, number)
            for number in range(count)]
    env.run(until=env.all_of([run.process for run in runs]))
    seconds = float(env.now)
    records = [run.record for run in runs] * (copies // count)
    done = sum(len(record.ends) for record in records)
    if failures is None and battery_j is None:
        rate = sum(steady_rate(record.ends, pipeline.batch) for record in records)
    else:
        rate = pipeline.batch * done / seconds
    joules = [run.joules() for run in runs]
    stage_j = tuple(float(np.mean([own[at] for own in joules]))
                    for at in range(len(pipeline.stages)))
    empty = [record.empty_s for record in records if record.empty_s is not None]
    return Result(
        "simulated", boards, pipeline.batch * done,
        pipeline.batch * sum(record.lost for record in records), seconds, rate,
        tuple(value for record in records for value in record.latencies), stage_j,
        sum(record.failures for record in records), min(empty, default=None))


class _Run:
    """One pipeline in an environment, from its first frame to its last.

    Attributes:
        record: what became of its frames.
        process: ends with the last frame.
    """

    def __init__(self, simpy: Any, env: Any, pipeline: Pipeline, frames: int, interval_s: float,
                 failures: Failures | None, battery_j: float | None, number: int) -> None:
        self._simpy, self._env, self._pipeline = simpy, env, pipeline
        self._frames, self._interval, self._battery = frames, interval_s, battery_j
        self._failures = failures
        self._random = np.random.RandomState(
            [failures.seed, number] if failures is not None else 0)
        self._meters = [[_Meter() for _ in range(stage.ways)] for stage in pipeline.stages]
        self._end_s: float | None = None
        self.record = _Record()
        self.process = env.process(self._live())

    def joules(self) -> tuple[float, ...]:
        """Return the joules of a board of each stage, mean of its boards, so far."""
        return tuple(float(np.mean([self._energy(meter) for meter in meters]))
                     for meters in self._meters)

    def _energy(self, meter: _Meter) -> float:
        """Return the joules of a board up to now, or to the end of its pipeline."""
        now = self._env.now if self._end_s is None else self._end_s
        return self._pipeline.power.energy(meter.compute_s, meter.host_s,
                                           max(now - meter.dead_s, 0.0))

    # -- life and death ---------------------------------------------------------------------------

    def _live(self) -> Events:
        """Run until all frames are done or lost, or a battery is empty; start anew after failures.
        """
        env, record = self._env, self.record
        while record.begun < self._frames and record.empty_s is None:
            self._stop = env.event()
            processes = self._start()
            waiting = [self._stop]
            if self._failures is not None:
                each = self._random.exponential(self._failures.mean_s, self._pipeline.boards)
                waiting.append(env.timeout(float(each.min())))
            yield env.any_of(waiting)
            for process in processes:
                if process.is_alive:
                    process.interrupt()
            yield env.timeout(0)  # they end before anything is counted
            record.lost += len(record.started)
            record.started.clear()
            if not self._stop.triggered:
                assert self._failures is not None
                record.failures += 1
                meters = [meter for own in self._meters for meter in own]
                down = self._failures.notice_s + self._failures.repair_s
                meters[int(each.argmin())].dead_s += down
                yield env.timeout(down)
        self._end_s = float(env.now)

    def _start(self) -> list[Any]:
        """Start the processes of all boards and links, with empty queues; return them."""
        simpy, env, pipeline = self._simpy, self._env, self._pipeline
        connections: list[list[_Connection]] = [[]]
        processes = []
        for before, stage in zip(pipeline.stages, pipeline.stages[1:]):
            port = simpy.Resource(env, 1)
            own = [_Connection(simpy, env, pipeline.queue) for _ in range(before.ways)]
            connections.append(own)
            processes += [env.process(self._quietly(
                connection.carry(env, port, stage.wire_s / before.ways, stage.latency_s)))
                for connection in own]
        first = self.record.begun
        for at, stage in enumerate(pipeline.stages):
            for way in range(stage.ways):
                out = connections[at + 1][way] if at + 1 < len(pipeline.stages) else None
                processes.append(env.process(self._quietly(
                    self._board(at, way, connections[at], out, first))))
        return processes

    def _quietly(self, events: Events) -> Events:
        """Let a process end without an error when it is interrupted."""
        try:
            yield from events
        except self._simpy.Interrupt:
            return

    # -- boards -----------------------------------------------------------------------------------

    def _board(self, at: int, way: int, sources: list[_Connection], out: _Connection | None,
               first: int) -> Events:
        """Be a board of a stage: take, compute, send, frame by frame."""
        env, pipeline, record = self._env, self._pipeline, self.record
        stage, meter = pipeline.stages[at], self._meters[at][way]
        for frame in range(first, self._frames):
            if at == 0:
                arrival = frame * self._interval
                if env.now < arrival:
                    yield env.timeout(arrival - env.now)
                # Of several branches the first one begins the frame.
                record.begun = max(record.begun, frame + 1)
                record.started.setdefault(frame, arrival if self._interval else float(env.now))
            for source in sources:
                yield from source.take(env)
                yield from self._work(meter, pipeline.host_s, host=True)
            yield from self._work(meter, stage.compute_s, host=False)
            if out is None:
                self._finish(frame)
            else:
                yield from self._work(meter, pipeline.host_s, host=True)
                yield out.outbox.put(frame)
            self._look_at_battery(meter)

    def _work(self, meter: _Meter, seconds: float, host: bool) -> Events:
        """Let time go by in which a board works; count what went by if it is interrupted."""
        if not seconds:
            return
        begin = self._env.now
        try:
            yield self._env.timeout(seconds)
        finally:
            spent = self._env.now - begin
            if host:
                meter.host_s += spent
            else:
                meter.compute_s += spent

    def _finish(self, frame: int) -> None:
        """Count a frame that has come to the end."""
        record, now = self.record, float(self._env.now)
        record.ends.append(now)
        record.latencies.append(now - record.started.pop(frame))
        if frame + 1 == self._frames and not self._stop.triggered:
            self._stop.succeed()

    def _look_at_battery(self, meter: _Meter) -> None:
        """End the pipeline if a board's battery is empty."""
        if self._battery is not None and self._energy(meter) >= self._battery:
            if self.record.empty_s is None:
                self.record.empty_s = float(self._env.now)
            if not self._stop.triggered:
                self._stop.succeed()


class _Connection:
    """Messages from one board to another: what is to be sent, what is on its way or waits.

    Attributes:
        outbox: one message that waits for the port.
    """

    def __init__(self, simpy: Any, env: Any, queue: int) -> None:
        self.outbox = simpy.Store(env, 1)
        self._room = simpy.Container(env, queue, init=queue)
        self._inbox = simpy.Store(env)

    def carry(self, env: Any, port: Any, busy_s: float, latency_s: float) -> Events:
        """Be the link: send messages as long as the other board has room."""
        while True:
            frame = yield self.outbox.get()
            yield self._room.get(1)
            with port.request() as turn:
                yield turn
                yield env.timeout(busy_s)
            yield self._inbox.put((env.now + latency_s, frame))

    def take(self, env: Any) -> Events:
        """Wait for the next message and make room for another."""
        there, _ = yield self._inbox.get()
        if env.now < there:
            yield env.timeout(there - env.now)
        yield self._room.put(1)


