"""Bounded buffers of maps between blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition

from pynq_train.data import Labels
from pynq_train.fleet.block_training.maps import MapBatch


@dataclass
class Entry:
    """A mini-batch of maps.

    Attributes:
        maps: the maps.
        labels: their labels.
        number: how many were put before it.
        uses: how often it was taken.
    """

    maps: MapBatch
    labels: Labels
    number: int
    uses: int = 0


class Closed(Exception):
    """The ring was closed: somebody else has failed, or has what is needed."""


class Ring:
    """At most ``size`` mini-batches on their way from a block to the next, for threads too.

    Args:
        size: most mini-batches.
        once: each is taken once, in order, and one that puts waits for a free place. Else the one
            that is taken is the least used, of these the newest, and stays; into a full ring goes a
            new one in the place of the most used, of these the oldest.
    """

    def __init__(self, size: int, once: bool) -> None:
        self.size, self._once = size, once
        self._entries: list[Entry] = []
        self._put, self._closed = 0, False
        self._changed = Condition()

    def __len__(self) -> int:
        """Return the number of mini-batches in it."""
        return len(self._entries)

    def put(self, maps: MapBatch, labels: Labels) -> None:
        """Add a mini-batch.

        Raises:
            Closed: the ring is closed.
        """
        with self._changed:
            if self._once:
                self._wait(lambda: len(self._entries) < self.size)
            elif self._closed:
                raise Closed
            elif len(self._entries) == self.size:
                self._entries.remove(max(self._entries, key=lambda one: (one.uses, -one.number)))
            self._entries.append(Entry(maps, labels, self._put))
            self._put += 1
            self._changed.notify_all()

    def take(self) -> tuple[MapBatch, Labels]:
        """Return a mini-batch, and wait for one where there is none.

        Raises:
            Closed: the ring is closed.
        """
        with self._changed:
            self._wait(lambda: bool(self._entries))
            if self._once:
                found = self._entries.pop(0)
            else:
                found = min(self._entries, key=lambda one: (one.uses, -one.number))
            found.uses += 1
            self._changed.notify_all()
            return found.maps, found.labels

    def clear(self) -> None:
        """Forget all mini-batches."""
        with self._changed:
            self._entries.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Let all who wait or come raise :class:`Closed`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._closed or ready())
        if self._closed:
            raise Closed
