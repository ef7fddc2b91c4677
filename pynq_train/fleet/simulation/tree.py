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
    one thing after the other; what it sends goes through its port beside that. An image that goes
    to another board waits until there are as many as a message holds, or no more are to come.

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
        self._waiting: dict[tuple[int, int, int], list[int]] = {}  # by board, leaf and its board
        self._left = frames  # that no root has looked at yet
        self._ports = [(simpy.Resource(self.env, 1), simpy.Resource(self.env, 1))
                       for _ in range(placement.boards)]
        self._compute, self._host = [0.0] * placement.boards, [0.0] * placement.boards
        self._begun: list[float] = []
        self._ends: list[float] = []
        self._latencies: list[float] = []
        for board in range(placement.boards):
            self.env.process(self._board(board))
        # So many can wait for a message and not be sent, whatever else is under way.
        roots = [here for here, own in enumerate(placement.shares[0]) if own > 0]
        ways = sum(share > 0 and here != there for row in placement.shares[1:]
                   for there, share in enumerate(row) for here in roots)
        more = placement.per_message - 1
        for _ in range(min(UNDER_WAY * placement.boards * placement.per_message + ways * more,
                           frames)):
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
            self._work[self._next(0)].put((0, [frame], False))

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
        while True:
            task, frames, message = yield self._work[here].get()
            if message:
                yield from self._handle(here)
            for frame in frames:
                yield from self._compute_at(here, task)
                if task:
                    self._end(frame)
                else:
                    yield from self._route(here, frame)
            for key, waiting in list(self._waiting.items()):
                if key[0] == here and (len(waiting) >= self._placement.per_message
                                       or not self._left):
                    del self._waiting[key]
                    yield from self._handle(here)
                    self.env.process(self._send(*key, waiting))

    def _route(self, here: int, frame: int) -> Events:
        """Bring a frame that the root has looked at to its leaf: here at once, else by message."""
        self._left -= 1
        if not self._left:
            for work in self._work:  # no board waits for more images any longer
                work.put((0, [], False))
        leaf = int(self._routes[frame])
        there = self._next(leaf) if leaf else here
        if there != here:
            self._waiting.setdefault((here, leaf, there), []).append(frame)
            return
        if leaf:
            yield from self._compute_at(here, leaf)
        self._end(frame)

    def _compute_at(self, here: int, task: int) -> Events:
        """Let a board's engine work."""
        seconds = self._placement.tasks[task].seconds
        yield self.env.timeout(seconds)
        self._compute[here] += seconds

    def _handle(self, here: int) -> Events:
        """Let a board's processor handle a message."""
        seconds = self._placement.setting.host_s
        yield self.env.timeout(seconds)
        self._host[here] += seconds

    def _send(self, here: int, leaf: int, there: int, frames: list[int]) -> Events:
        """Bring images from one board to another."""
        setting, nbytes = self._placement.setting, self._placement.image_bytes * len(frames)
        with self._ports[here][0].request() as out:
            yield out
            with self._ports[there][1].request() as into:
                yield into
                yield self.env.timeout(setting.wire_busy_s(nbytes))
        if setting.link is not None:
            yield self.env.timeout(setting.link.latency_s)
        self._work[there].put((leaf, frames, True))

    def _end(self, frame: int) -> None:
        """Count a frame that has its class, and begin another."""
        now = float(self.env.now)
        self._ends.append(now)
        self._latencies.append(now - self._begun[frame])
        if len(self._ends) == self._frames:
            self.done.succeed()
        else:
            self._begin()
