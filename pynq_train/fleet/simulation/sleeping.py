"""Pipelines of threads that sleep for the times of the model: the check of the simulator.

Queues, ports and the order of work are those of :mod:`pynq_train.fleet.simulation.simulate`, but
made of Python's threads, queues and locks, and the times are those of the machine's clock.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pynq_train.errors import BadInput
from pynq_train.fleet.simulation.pipeline import Pipeline, Result, steady_rate

_WAIT_S = 60.0
"""Seconds after which a thread that waits for another gives up: none hangs."""


@dataclass
class _Wire:
    """A connection between two threads: what is to be sent, what has been, and room for more."""

    depth: int
    outbox: queue.Queue[int] = field(default_factory=lambda: queue.Queue(1))
    inbox: queue.Queue[tuple[float, int]] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        self.room = threading.Semaphore(self.depth)

    def carry(self, port: threading.Lock, frames: int, busy_s: float, latency_s: float) -> None:
        """Be the link: send messages as long as the other thread has room."""
        for _ in range(frames):
            frame = self.outbox.get(timeout=_WAIT_S)
            if not self.room.acquire(timeout=_WAIT_S):
                raise TimeoutError("no room on a connection")
            with port:
                time.sleep(busy_s)
            self.inbox.put((time.perf_counter() + latency_s, frame))

    def take(self) -> None:
        """Wait for the next message and make room for another."""
        there, _ = self.inbox.get(timeout=_WAIT_S)
        time.sleep(max(there - time.perf_counter(), 0.0))
        self.room.release()


def sleep_through(pipeline: Pipeline, frames: int, interval_s: float = 0.0) -> Result:
    """Return what a pipeline of sleeping threads does with frames, measured.

    Args:
        pipeline: the pipeline; times of some 20 ms and more are slept well.
        frames: how many.
        interval_s: seconds from one frame to the next; 0: the next one is always there.

    Raises:
        BadInput: less than two frames.
        RuntimeError: a thread has failed or waited for a minute.
    """
    if type(frames) is not int or frames < 2:
        raise BadInput("frames", expected="an integer of 2 or more", found=repr(frames))
    wires: list[list[_Wire]] = [[]]
    jobs: list[Callable[[], None]] = []
    for before, stage in zip(pipeline.stages, pipeline.stages[1:]):
        port, own = threading.Lock(), [_Wire(pipeline.queue) for _ in range(before.ways)]
        wires.append(own)
        for wire in own:
            jobs.append(_job(wire.carry, port, frames, stage.wire_s / before.ways,
                             stage.latency_s))
    starts: dict[int, float] = {}
    ends: list[float] = []

    def board(at: int, way: int) -> None:
        stage = pipeline.stages[at]
        for frame in range(frames):
            if at == 0:
                arrival = begin + frame * interval_s
                time.sleep(max(arrival - time.perf_counter(), 0.0))
                starts.setdefault(frame, arrival if interval_s else time.perf_counter())
            for wire in wires[at]:
                wire.take()
                time.sleep(pipeline.host_s)
            time.sleep(stage.compute_s)
            if at + 1 == len(pipeline.stages):
                ends.append(time.perf_counter())
            else:
                time.sleep(pipeline.host_s)
                wires[at + 1][way].outbox.put(frame, timeout=_WAIT_S)

    jobs += [_job(board, at, way) for at, stage in enumerate(pipeline.stages)
             for way in range(stage.ways)]
    begin = time.perf_counter()
    _run(jobs)
    return Result("measured", pipeline.boards, pipeline.batch * len(ends), 0,
                  time.perf_counter() - begin, steady_rate(ends, pipeline.batch),
                  tuple(end - starts[frame] for frame, end in enumerate(ends)))


def _job(call: Callable[..., None], *arguments: object) -> Callable[[], None]:
    """Return a call with its arguments bound."""
    return lambda: call(*arguments)


def _run(jobs: list[Callable[[], None]]) -> None:
    """Run jobs in threads and wait for all.

    Raises:
        RuntimeError: one has failed.
    """
    errors: list[BaseException] = []

    def safely(job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=safely, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise RuntimeError(f"a sleeping pipeline has failed: {errors[0]!r}") from errors[0]
