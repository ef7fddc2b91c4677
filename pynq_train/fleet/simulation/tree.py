"""Simulated trees of networks: frames go to a root, and from there to the leaf that it picks."""

from __future__ import annotations

from typing import Any

import numpy as np

from pynq_train.errors import BadInput
from pynq_train.fleet.hierarchy.placement import Placement
from pynq_train.fleet.simulation.pipeline import Result, steady_rate
from pynq_train.fleet.simulation.simulate import Events, need_simpy

UNDER_WAY = 4
"""Frames under way for each board: a new one begins when one ends."""


def simulate_tree(placement: Placement, frames: int, seed: int = 0) -> Result:
    """Return what boards with the networks of a tree do with frames.

    Leaves are drawn by their visits; each network's boards take turns by their shares. A board does
    one thing after the other; what it sends goes through its port beside that.

    Args:
        placement: networks on boards.
        frames: how many.
        seed: names which leaf each frame goes to.

    Raises:
        BadInput: less than two frames.
        MissingTool: simpy is not installed.
    """
    if type(frames) is not int or frames < 2:
        raise BadInput("frames", expected="an integer of 2 or more", found=repr(frames))
    simpy = need_simpy()
    run = _TreeRun(simpy, placement, frames, seed)
    run.env.run(until=run.done)
    return run.result()


class _TreeRun:
    """One run: boards, their work, what became of the frames."""

    def __init__(self, simpy: Any, placement: Placement, frames: int, seed: int) -> None:
        self.env = simpy.Environment()
        self.done = self.env.event()
        self._placement, self._frames = placement, frames
        visits = [task.visits for task in placement.tasks[1:]]
        rest = max(1 - sum(visits), 0.0)  # groups of one class: the root answers
        parts = np.array([rest, *visits])
        self._routes = np.random.RandomState(seed).choice(len(parts), frames, p=parts / parts.sum())
        self._turns = [[0.0] * placement.boards for _ in placement.tasks]
        self._work = [simpy.Store(self.env) for _ in range(placement.boards)]
        self._ports = [(simpy.Resource(self.env, 1), simpy.Resource(self.env, 1))
                       for _ in range(placement.boards)]
        self._compute, self._host = [0.0] * placement.boards, [0.0] * placement.boards
        self._begun: list[float] = []
        self._ends: list[float] = []
        self._latencies: list[float] = []
        for board in range(placement.boards):
            self.env.process(self._board(board))
        for _ in range(min(UNDER_WAY * placement.boards, frames)):
            self._begin()

    def result(self) -> Result:
        """Return what was seen."""
        seconds, power = float(self.env.now), self._placement.setting.power
        joules = tuple(power.energy(compute, host, seconds)
                       for compute, host in zip(self._compute, self._host))
        return Result("simulated", self._placement.boards, len(self._ends), 0, seconds,
                      steady_rate(self._ends, 1), tuple(self._latencies), joules)

    def _begin(self) -> None:
        """Send the next frame to a root."""
        if len(self._begun) < self._frames:
            frame = len(self._begun)
            self._begun.append(float(self.env.now))
            self._work[self._next(0)].put((0, frame, False))

    def _next(self, task: int) -> int:
        """Return the board whose turn it is for a network: that which is furthest behind."""
        turns, shares = self._turns[task], self._placement.shares[task]
        total = sum(shares)
        for here, share in enumerate(shares):
            turns[here] += share / total
        chosen = max(range(len(turns)), key=lambda here: (turns[here], -here))
        turns[chosen] -= 1
        return chosen

    def _board(self, here: int) -> Events:
        """Be a board: do what there is to do, one thing after the other."""
        env, tasks, host_s = self.env, self._placement.tasks, self._placement.setting.host_s
        while True:
            task, frame, message = yield self._work[here].get()
            if message:
                yield env.timeout(host_s)
                self._host[here] += host_s
            while True:
                yield env.timeout(tasks[task].seconds)
                self._compute[here] += tasks[task].seconds
                route = int(self._routes[frame])
                if task or not route:
                    self._end(frame)
                    break
                task, there = route, self._next(route)
                if there != here:
                    yield env.timeout(host_s)
                    self._host[here] += host_s
                    env.process(self._send(here, there, task, frame))
                    break

    def _send(self, here: int, there: int, task: int, frame: int) -> Events:
        """Bring an image from one board to another."""
        setting, nbytes = self._placement.setting, self._placement.image_bytes
        with self._ports[here][0].request() as out:
            yield out
            with self._ports[there][1].request() as into:
                yield into
                yield self.env.timeout(setting.wire_busy_s(nbytes))
        if setting.link is not None:
            yield self.env.timeout(setting.link.latency_s)
        self._work[there].put((task, frame, True))

    def _end(self, frame: int) -> None:
        """Count a frame that has its class, and begin another."""
        now = float(self.env.now)
        self._ends.append(now)
        self._latencies.append(now - self._begun[frame])
        if len(self._ends) == self._frames:
            self.done.succeed()
        else:
            self._begin()
