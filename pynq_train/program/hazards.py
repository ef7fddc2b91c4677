"""Proof that no two descriptors that may overlap in time touch the same bytes, one writing.

The ordering model, which promises less than the engine keeps:

* A semaphore counts the descriptors that signal it, in program order. So ``wait >= n`` means that
  the first ``n`` descriptors of that semaphore are complete, all writes acknowledged. Convolutions,
  updates (GRADIENT and UPDATE), softmax and vector descriptors have a semaphore each.
* A unit takes its descriptors in program order. What is known to be complete when it starts one is
  known in all later ones. What was known to a complete descriptor is known to who waits for it.
* A unit reads as soon as it has started: its reads know what it has waited for itself.
* The store unit writes a tile after X and S loader have started that descriptor, so its writes know
  what they know. So do the writes of a GRADIENT's update unit: they come after sums of its tiles.
* Store, update, softmax and vector unit write in order, through one port for each kind of data: a
  write is ordered after all earlier reads of the same unit, and after its earlier writes of that
  kind.
  A read is not: the unit may prefetch while the writes of its last descriptor are under way.
* Compute takes tiles in order, and drains follow it. So what a store unit writes for a later
  convolution, or the update unit for a later GRADIENT, comes after all loads of an earlier
  convolution or GRADIENT. The reverse, a load after an earlier write, needs a wait. Within a
  descriptor nothing is ordered: its first tile is written while its last one is still loaded.
* So who knows that a convolution or GRADIENT is complete knows that all loads of earlier ones are
  over, whatever they signal.
* The vector unit takes a descriptor (VECTOR, NORM, POOL) when its last one is complete.
* FENCE: everything in front has retired.

Nothing else is assumed: not that descriptors retire in order across semaphores, nor how many are
under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import UNITS_OF, WAIT_OF, Opcode, Semaphore, Unit
from pynq_train.program.access import Access
from pynq_train.program.program import Fields, Program

_IN_ORDER = frozenset({Unit.STORE, Unit.UPDATE, Unit.SOFTMAX, Unit.VECTOR})
"""Units whose writes of one kind leave in order."""
_LOADERS = frozenset({Unit.X, Unit.S})
"""Units that feed the array."""
_ARRAY = frozenset({Opcode.CONV, Opcode.GRADIENT})
"""Opcodes for which the array works."""
_FAMILY = {Opcode.GRADIENT: Opcode.UPDATE, Opcode.NORM: Opcode.VECTOR,
           Opcode.POOL: Opcode.VECTOR}
"""Opcodes that share a semaphore with another one."""
Counts = tuple[int, ...]
"""Complete descriptors, one count per semaphore: the first so many of it."""


@dataclass(frozen=True)
class _Known:
    """What is complete when the units of a descriptor start it.

    Attributes:
        units: counts that each unit knows.
    """

    units: dict[Unit, Counts]

    @property
    def everything(self) -> Counts:
        """Counts that follow from what any unit of the descriptor has waited for."""
        return _join(*self.units.values())

    def of(self, access: Access) -> Counts:
        """Return the counts that are known when a unit touches memory."""
        # What is behind the array writes after both loaders have started, so it knows what they
        # knew. A read may come as soon as its own unit has started.
        follows = access.write and access.unit in (Unit.STORE, Unit.UPDATE)
        return self.everything if follows else self.units[access.unit]


def _join(*counts: Counts) -> Counts:
    """Return the larger count of each semaphore."""
    return tuple(max(values) for values in zip(*counts))


class Order:
    """What is known to be complete, for all descriptors of a program.

    Args:
        fields: fields of the descriptors in order.
        labels: their names for messages.

    Raises:
        IllegalProgram: a descriptor waits for more signals than there are in front of it.
    """

    def __init__(self, fields: Sequence[Fields], labels: Sequence[str]) -> None:
        none = (0,) * len(Semaphore)
        self._ordinal: list[tuple[int, int]] = []
        self._known: list[_Known] = []
        self._opcode = [Opcode(f["pre.opcode"]) for f in fields]
        members: list[list[int]] = [[] for _ in Semaphore]
        # What follows from the first so many signals of a semaphore: what those had waited for.
        self._behind: list[list[Counts]] = [[none] for _ in Semaphore]
        last = dict.fromkeys(WAIT_OF, none)
        for index, f in enumerate(fields):
            opcode = Opcode(f["pre.opcode"])
            if opcode == Opcode.FENCE:
                done = tuple(len(m) for m in members)
                # Everything in front has retired, for all units.
                last = dict.fromkeys(last, done)
                self._known.append(_Known({}))
                self._ordinal.append((0, 0))
                continue
            units: dict[Unit, Counts] = {}
            for unit in UNITS_OF[opcode]:
                if unit in WAIT_OF:
                    waited = self._waited(f, unit, members, labels[index])
                    # It takes a descriptor when its last one is complete: that one's knowledge is
                    # its own.
                    if unit == Unit.VECTOR:
                        before = members[Semaphore.VECTOR]
                        waited = _join(waited, *(self._known[m].everything for m in before[-1:]),
                                       self._only(Semaphore.VECTOR, len(before)))
                    last[unit] = units[unit] = _join(last[unit], waited)
            self._known.append(_Known(units))
            signal = f["pre.signal"]
            members[signal].append(index)
            behind = self._behind[signal]
            behind.append(_join(behind[-1], self._known[-1].everything))
            self._ordinal.append((signal, len(members[signal])))
        self._next_array = self._array_behind()

    def _array_behind(self) -> list[tuple[tuple[int, int], ...]]:
        """Return, for each descriptor, the first of the array behind it: one of each semaphore.

        Each is a semaphore and the count with which that descriptor is complete.
        """
        found: list[tuple[tuple[int, int], ...]] = []
        ahead: dict[int, int] = {}
        for opcode, (semaphore, ordinal) in zip(reversed(self._opcode), reversed(self._ordinal)):
            found.append(tuple(ahead.items()))
            if opcode in _ARRAY:
                ahead[semaphore] = ordinal
        return found[::-1]

    @staticmethod
    def _only(semaphore: int, count: int) -> Counts:
        """Return ``count`` for one semaphore and 0 for the others."""
        return tuple(count if s == semaphore else 0 for s in range(len(Semaphore)))

    def _waited(self, f: Fields, unit: Unit, members: list[list[int]], label: str) -> Counts:
        """Return the counts that follow from the wait of a unit."""
        name = WAIT_OF[unit]
        count, semaphore = f[f"pre.wait_{name}"], f[f"pre.wait_{name}_sem"]
        if count == 0:
            return (0,) * len(Semaphore)
        there = len(members[semaphore])
        if count > there:
            raise IllegalProgram(
                f"{label}: wait_{name} would never end",
                expected=f"at most {there}, the {Semaphore(semaphore).name} descriptors in front",
                found=count)
        # A complete descriptor has waited for others, which are complete as well.
        return _join(self._only(semaphore, count), self._behind[semaphore][count])

    def ordered(self, first: int, access: Access, second: int, later: Access) -> bool:
        """Return whether ``access`` of descriptor ``first`` is over before ``later`` of ``second``.

        ``first`` comes before ``second`` in the program.
        """
        semaphore, ordinal = self._ordinal[first]
        known = self._known[second].of(later)
        if known[semaphore] >= ordinal:
            return True
        loaded = access.unit in _LOADERS and not access.write
        if loaded and any(known[signal] >= count for signal, count in self._next_array[first]):
            return True
        # Only waits order a read: units read ahead.
        if not later.write:
            return False
        if access.unit == later.unit and access.unit in _IN_ORDER:
            return not access.write or access.what == later.what
        # What is drained of a later descriptor was computed after everything of the earlier one had
        # been loaded.
        drained = later.unit == Unit.STORE or (
            later.unit == Unit.UPDATE and self._opcode[second] == Opcode.GRADIENT)
        return drained and loaded


def check_signals(fields: Sequence[Fields], labels: Sequence[str]) -> None:
    """Check that each kind of descriptor signals a semaphore of its own, and waits name semaphores.

    Raises:
        IllegalProgram: they do not.
    """
    owner: dict[int, Opcode] = {}
    for f, label in zip(fields, labels):
        opcode = Opcode(f["pre.opcode"])
        if opcode == Opcode.FENCE:
            continue
        for name in ("signal", "wait_x_sem", "wait_s_sem", "wait_y_sem"):
            if f[f"pre.{name}"] not in list(Semaphore):
                raise IllegalProgram(f"{label}: {name}", expected=f"0..{max(Semaphore)}",
                                     found=f[f"pre.{name}"])
        family = _FAMILY.get(opcode, opcode)
        if owner.setdefault(f["pre.signal"], family) != family:
            raise IllegalProgram(
                f"{label}: signal",
                expected="a semaphore each for convolutions, updates, softmax and vector",
                found=f"{Semaphore(f['pre.signal']).name}, which {owner[f['pre.signal']].name} "
                      "descriptors signal")


def check_hazards(program: Program, labels: Sequence[str],
                  accesses: Sequence[Sequence[Access]]) -> None:
    """Prove the absence of hazards, in the model above.

    Args:
        program: the program.
        labels: names of its descriptors for messages.
        accesses: what each of them touches.

    Raises:
        IllegalProgram: two descriptors that are not ordered meet in memory.
    """
    order = Order(program.fields, labels)
    flat = [(index, access) for index, some in enumerate(accesses) for access in some]
    if not flat:
        return
    owner = np.array([index for index, _ in flat])
    low = np.array([access.spans.low for _, access in flat])
    high = np.array([access.spans.high for _, access in flat])
    write = np.array([access.write for _, access in flat])
    for j, (second, later) in enumerate(flat):
        # The bounds of all accesses are compared at once; only pairs whose bounds overlap are
        # looked at byte by byte. Two reads never conflict.
        near = (low < high[j]) & (low[j] < high) & (write | write[j])
        near &= owner <= second
        # Each pair is met once, at the later of its accesses.
        near[j:] = False
        for i in np.flatnonzero(near):
            first, access = flat[i]
            if first == second and _same_unit_in_place(access, later):
                continue
            if first != second and order.ordered(first, access, second, later):
                continue
            byte = access.spans.meets(later.spans)
            if byte is not None:
                raise IllegalProgram(_message(program, labels, (first, access), (second, later),
                                              byte))


def _same_unit_in_place(access: Access, later: Access) -> bool:
    """Return whether a unit may write over what it reads itself.

    Update and vector unit read ahead of their writes, element by element, so that an element is
    read before it is overwritten. This holds only if both begin at the same byte.
    """
    if access.unit != later.unit or access.spans.low != later.spans.low:
        return False
    pair = {access.what, later.what}
    return pair in ({"masters"}, {"running statistics"}, {"map a", "result"}, {"map b", "result"})


def _message(program: Program, labels: Sequence[str], one: tuple[int, Access],
             two: tuple[int, Access], byte: int) -> str:
    """Return the text of a hazard between two accesses at a byte of the arena."""

    def name(index: int, access: Access) -> str:
        verb = "writes" if access.write else "reads"
        return f"{labels[index]} {verb} its {access.what}"

    where = program.locate(byte)
    if one[0] == two[0]:
        return (f"{name(*one)} and {'writes' if two[1].write else 'reads'} its {two[1].what} at "
                f"{where}: they must not overlap")
    return (f"hazard at {where}: {name(*one)}, {name(*two)}, and nothing orders them; let the "
            f"{two[1].unit.name} unit of the second wait for the first")
