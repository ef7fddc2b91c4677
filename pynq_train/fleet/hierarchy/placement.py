"""Which board runs which networks of a tree: leaves placed and replicated by their visits.

Of a tree's networks, the root answers every frame and a leaf those that the root sends to it. A
network may stand on several boards, which share its frames. Where root and leaf of a frame stand on
different boards, the image goes from one to the other, alone in a message or with others that have
the same way: what a message costs a processor is then shared by them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.fleet.splits.split import Setting

_SWEEPS = 12
"""Rounds in which shares are balanced."""
Where = tuple[frozenset[int], ...]
"""Boards of each network."""


@dataclass(frozen=True)
class Task:
    """A network of a tree.

    Attributes:
        name: for tables.
        seconds: that a board computes per frame that it answers.
        visits: part of all frames that it answers; 1 for the root.
        memory_bytes: bytes of a board's contiguous memory.
    """

    name: str
    seconds: float
    visits: float
    memory_bytes: int

    def __post_init__(self) -> None:
        """Raise :class:`BadInput` if a figure is out of range."""
        if not (self.seconds > 0 and 0 <= self.visits <= 1 and self.memory_bytes >= 0):
            raise BadInput(f"network {self.name!r} of a tree",
                           expected="seconds above 0, visits of 0 to 1, bytes of 0 or more",
                           found=f"{self.seconds:g} s, {self.visits:g}, {self.memory_bytes}")


@dataclass(frozen=True)
class Placement:
    """Networks of a tree on boards.

    Attributes:
        tasks: the root, then the leaves.
        boards: how many boards.
        shares: by network and board: part of all frames that it answers there.
        setting: links, power, host.
        image_bytes: bytes of an image as it is sent.
        per_message: images that a board collects for another one before it sends them.
    """

    tasks: tuple[Task, ...]
    boards: int
    shares: tuple[tuple[float, ...], ...]
    setting: Setting
    image_bytes: int
    per_message: int = 1

    def __post_init__(self) -> None:
        """Raise :class:`BadInput` if messages hold no image."""
        if type(self.per_message) is not int or self.per_message < 1:
            raise BadInput("images of a message", expected="an integer of 1 or more",
                           found=repr(self.per_message))

    @cached_property
    def images(self) -> tuple[tuple[float, float], ...]:
        """By board, the images that it sends and takes per frame, from root to leaf."""
        root = self.shares[0]
        sent, taken = [0.0] * self.boards, [0.0] * self.boards
        for task, own in zip(self.tasks[1:], self.shares[1:]):
            for here in range(self.boards):
                sent[here] += root[here] * (task.visits - own[here])
                taken[here] += own[here] * (1 - root[here])
        return tuple(zip(sent, taken))

    @cached_property
    def messages(self) -> tuple[tuple[float, float], ...]:
        """By board, the messages that it sends and takes per frame."""
        return tuple((sent / self.per_message, taken / self.per_message)
                     for sent, taken in self.images)

    @cached_property
    def compute_s(self) -> tuple[float, ...]:
        """Seconds per frame that each board computes."""
        return tuple(sum(task.seconds * own[here] for task, own in zip(self.tasks, self.shares))
                     for here in range(self.boards))

    @cached_property
    def host_s(self) -> tuple[float, ...]:
        """Seconds per frame in which each board's processor handles messages."""
        return tuple(self.setting.host_s * (sent + taken) for sent, taken in self.messages)

    @cached_property
    def period_s(self) -> float:
        """Seconds from one frame to the next: of the busiest board or port."""
        wire = self.setting.wire_busy_s(self.image_bytes)
        ports = [wire * max(one) for one in self.images]
        return max(*(a + b for a, b in zip(self.compute_s, self.host_s)), *ports, 0.0)

    @property
    def memory_bytes(self) -> tuple[int, ...]:
        """Bytes that each board's networks keep."""
        return tuple(sum(task.memory_bytes for task, own in zip(self.tasks, self.shares)
                         if own[here] > 0) for here in range(self.boards))

    @property
    def device_j(self) -> tuple[float, ...]:
        """Joules per frame of each board."""
        return tuple(self.setting.power.energy(compute, host, self.period_s)
                     for compute, host in zip(self.compute_s, self.host_s))

    def text(self) -> str:
        """Return one line for each board, and one for all."""
        lines = []
        for here in range(self.boards):
            names = ", ".join(f"{task.name} ({100 * own[here]:.1f} % of the frames)"
                              for task, own in zip(self.tasks, self.shares) if own[here] > 0)
            lines.append(f"board {here}: {names}; {1e3 * self.compute_s[here]:.3f} ms computing "
                         f"(predicted), {1e3 * self.host_s[here]:.3f} ms host (given), "
                         f"{self.memory_bytes[here] / 1e6:.3f} MB")
        lines.append(f"{1 / self.period_s:.1f} frames/s, {1e3 * max(self.device_j):.3f} mJ per "
                     f"device and frame, {1e3 * sum(self.device_j):.3f} mJ of all (estimated)")
        return "\n".join(lines)

    def against(self, one: Placement) -> dict[str, Any]:
        """Return frames, energy and memory against another placement, in times and percent less.

        Energy and memory per device are the mean of all devices.
        """
        def less(mine: float, theirs: float) -> float:
            return 100 * (1 - mine / theirs)

        return {
            "frames": one.period_s / self.period_s,
            "device_energy_less_pct": less(sum(self.device_j) / self.boards,
                                           sum(one.device_j) / one.boards),
            "device_memory_less_pct": less(sum(self.memory_bytes) / self.boards,
                                           sum(one.memory_bytes) / one.boards),
            "swarm_energy_more_pct": -less(sum(self.device_j), sum(one.device_j))}


def on_one_board(tasks: Sequence[Task], setting: Setting, image_bytes: int) -> Placement:
    """Return the whole tree on one board."""
    return Placement(tuple(tasks), 1, tuple((task.visits,) for task in tasks), setting,
                     image_bytes)


def place(tasks: Sequence[Task], boards: int, setting: Setting, image_bytes: int,
          most_bytes: int, per_message: int = 1) -> Placement:
    """Return the placement with the shortest period that is found, then the least memory.

    From several beginnings, the boards of one network after the other are changed as long as
    something becomes better; shares are balanced each time. That need not be the best of all.

    Args:
        tasks: the root, then the leaves, whose visits are 1 together at most.
        boards: how many boards, alike.
        setting: links, power, host.
        image_bytes: bytes of an image as it is sent.
        most_bytes: bytes of a board's memory that networks may take.
        per_message: images of a message.

    Raises:
        BadInput: the visits are those of no tree, or there is no board or no image.
        DoesNotFit: no placement was found that the memory holds.
    """
    if type(boards) is not int or boards < 1:
        raise BadInput("boards", expected="an integer of 1 or more", found=repr(boards))
    if not tasks or tasks[0].visits != 1 or sum(task.visits for task in tasks[1:]) > 1 + 1e-9:
        raise BadInput("visits", expected="1 for the root, and 1 at most for all leaves together",
                       found=[task.visits for task in tasks])
    sets = [frozenset(chosen) for count in range(1, boards + 1)
            for chosen in combinations(range(boards), count)]

    def placed(where: Where) -> Placement:
        return Placement(tuple(tasks), boards, _balanced(tasks, where, boards), setting,
                         image_bytes, per_message)

    def worth(found: Placement) -> tuple[bool, float, int]:
        return (max(found.memory_bytes) > most_bytes, round(found.period_s, 12),
                sum(found.memory_bytes))

    best: Placement | None = None
    for where in _beginnings(tasks, boards):
        own = placed(where)
        better = True
        while better:
            better = False
            for at in range(len(tasks)):
                tried = [(*where[:at], chosen, *where[at + 1:]) for chosen in sets]
                found, chosen = min(((placed(one), one) for one in tried),
                                    key=lambda pair: worth(pair[0]))
                if worth(found) < worth(own):
                    own, where, better = found, chosen, True
        if best is None or worth(own) < worth(best):
            best = own
    assert best is not None
    if max(best.memory_bytes) > most_bytes:
        raise DoesNotFit(f"a tree on {boards} boards", expected=f"at most {most_bytes} bytes of "
                         "networks on a board", found=max(best.memory_bytes),
                         fix="use more boards or smaller networks")
    return best


def _beginnings(tasks: Sequence[Task], boards: int) -> Iterator[Where]:
    """Yield placements to begin with: the root on 1, 2 ... boards, leaves one by one behind it."""
    leaves = sorted(range(1, len(tasks)), key=lambda at: -tasks[at].visits * tasks[at].seconds)
    for count in range(1, boards + 1):
        load = [tasks[0].seconds / count if here < count else 0.0 for here in range(boards)]
        where = [frozenset(range(count))] * len(tasks)
        for at in leaves:
            here = min(range(boards), key=lambda board: (load[board], -board))
            where[at] = frozenset([here])
            load[here] += tasks[at].visits * tasks[at].seconds
        yield tuple(where)
    yield tuple(frozenset(range(boards)) for _ in tasks)


def _balanced(tasks: Sequence[Task], where: Where, boards: int) -> tuple[tuple[float, ...], ...]:
    """Return shares with which the boards of each network are about equally busy."""
    shares = [[task.visits / len(own) if here in own else 0.0 for here in range(boards)]
              for task, own in zip(tasks, where)]
    load = [sum(task.seconds * row[here] for task, row in zip(tasks, shares))
            for here in range(boards)]
    for _ in range(_SWEEPS):
        for task, own, row in zip(tasks, where, shares):
            if len(own) == 1 or not task.visits:
                continue
            for here in own:
                load[here] -= task.seconds * row[here]
            for here, level in _filled(sorted(own, key=lambda board: load[board]), load,
                                       task.seconds * task.visits):
                row[here] = level / task.seconds
                load[here] += level
    return tuple(map(tuple, shares))


def _filled(order: Sequence[int], load: Sequence[float], amount: float
            ) -> list[tuple[int, float]]:
    """Return how much each board takes of an amount of work, so that the least busy ones level.

    Args:
        order: boards, the least busy one first.
        load: what each has already.
        amount: seconds to be shared.
    """
    for count in range(len(order), 0, -1):
        level = (amount + sum(load[here] for here in order[:count])) / count
        if level >= load[order[count - 1]]:
            return [(here, level - load[here] if at < count else 0.0)
                    for at, here in enumerate(order)]
    raise AssertionError("one board can always take all")
