"""Proof that no two descriptors that may overlap in time touch the same bytes, one writing.

The ordering model, which promises less than the engine keeps:

* A semaphore counts the descriptors that signal it, in program order: each opcode has a semaphore
  of its own, and the units of an opcode finish its descriptors in order. So ``wait >= n`` means
  that the first ``n`` descriptors of that semaphore have retired, all writes acknowledged.
* A unit takes its descriptors in program order. What is known to have retired when it starts one
  is known in all later ones. What was known to a retired descriptor is known to who waits for it.
* The store unit writes a tile after X and S loader have started that descriptor, so it knows what
  they know.
* The store unit works on one descriptor at a time and writes in order: its accesses are ordered
  after those of the same unit in earlier descriptors. Update and softmax units likewise.
* Compute takes tiles in order: a store of a later convolution comes after all loads of an earlier
  one. The reverse, a load after an earlier store, needs a wait.
* FENCE: everything in front has retired.

Nothing else is assumed: not that descriptors retire in order across semaphores, nor that at most
four are under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import UNITS_OF, Opcode, Semaphore, Unit
from pynq_train.program.access import Access
from pynq_train.program.program import Fields, Program

_WAITING = {Unit.X: "x", Unit.U: "x", Unit.F: "x", Unit.S: "s", Unit.Y: "y"}
"""Which wait field a unit obeys."""
_IN_ORDER = frozenset({Unit.Y, Unit.U, Unit.F})
_LOADERS = frozenset({Unit.X, Unit.S})
Counts = tuple[int, ...]


@dataclass(frozen=True)
class _Known:
    """Retired descriptors per semaphore, as each unit knows when it starts."""

    units: dict[Unit, Counts]

    @property
    def everything(self) -> Counts:
        """What some unit of the descriptor knows."""
        return _join(*self.units.values())

    def of(self, unit: Unit) -> Counts:
        """What is known when ``unit`` touches memory."""
        return self.everything if unit == Unit.Y else self.units[unit]


def _join(*counts: Counts) -> Counts:
    return tuple(max(values) for values in zip(*counts)) if counts else (0,) * len(Semaphore)


class Order:
    """What is known to have retired, for all descriptors of a program."""

    def __init__(self, fields: Sequence[Fields], labels: Sequence[str]) -> None:
        none = (0,) * len(Semaphore)
        self._ordinal: list[tuple[int, int]] = []
        self._known: list[_Known] = []
        members: list[list[int]] = [[] for _ in Semaphore]
        last = dict.fromkeys(_WAITING, none)
        for index, f in enumerate(fields):
            opcode = Opcode(f["pre.opcode"])
            if opcode == Opcode.FENCE:
                done = tuple(len(m) for m in members)
                last = dict.fromkeys(last, done)
                self._known.append(_Known({}))
                self._ordinal.append((0, 0))
                continue
            units: dict[Unit, Counts] = {}
            for unit in UNITS_OF[opcode]:
                if unit in _WAITING:
                    waited = self._waited(f, unit, members, labels[index])
                    last[unit] = units[unit] = _join(last[unit], waited)
            self._known.append(_Known(units))
            signal = f["pre.signal"]
            members[signal].append(index)
            self._ordinal.append((signal, len(members[signal])))

    def _waited(self, f: Fields, unit: Unit, members: list[list[int]], label: str) -> Counts:
        """Counts that follow from the wait of a unit."""
        name = _WAITING[unit]
        count, semaphore = f[f"pre.wait_{name}"], f[f"pre.wait_{name}_sem"]
        if count == 0:
            return (0,) * len(Semaphore)
        there = len(members[semaphore])
        if count > there:
            raise IllegalProgram(
                f"{label}: wait_{name} would never end",
                expected=f"at most {there}, the {Semaphore(semaphore).name} descriptors in front",
                found=count)
        direct = tuple(count if s == semaphore else 0 for s in range(len(Semaphore)))
        return _join(direct, *(self._known[member].everything
                               for member in members[semaphore][:count]))

    def ordered(self, first: int, access: Access, second: int, later: Access) -> bool:
        """Whether ``access`` of descriptor ``first`` is over before ``later`` of ``second``."""
        semaphore, ordinal = self._ordinal[first]
        if self._known[second].of(later.unit)[semaphore] >= ordinal:
            return True
        if access.unit == later.unit and access.unit in _IN_ORDER:
            return True
        return later.unit == Unit.Y and access.unit in _LOADERS and not access.write


def check_signals(fields: Sequence[Fields], labels: Sequence[str]) -> None:
    """Every semaphore is signalled by one opcode only, and waits name semaphores.

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
        if owner.setdefault(f["pre.signal"], opcode) != opcode:
            raise IllegalProgram(
                f"{label}: signal", expected="a semaphore of its own for each opcode",
                found=f"{Semaphore(f['pre.signal']).name}, which {owner[f['pre.signal']].name} "
                      "descriptors signal")


def check_hazards(program: Program, labels: Sequence[str],
                  accesses: Sequence[Sequence[Access]]) -> None:
    """Prove the absence of hazards, in the model above.

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
        near = (low < high[j]) & (low[j] < high) & (write | write[j])
        near &= owner <= second
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
    """The update unit reads and writes the masters in place; it reads ahead of its writes."""
    return access.unit == later.unit == Unit.U and access.what == later.what


def _message(program: Program, labels: Sequence[str], one: tuple[int, Access],
             two: tuple[int, Access], byte: int) -> str:
    def name(index: int, access: Access) -> str:
        verb = "writes" if access.write else "reads"
        return f"{labels[index]} {verb} its {access.what}"

    where = program.locate(byte)
    if one[0] == two[0]:
        return (f"{name(*one)} and {'writes' if two[1].write else 'reads'} its {two[1].what} at "
                f"{where}: they must not overlap")
    return (f"hazard at {where}: {name(*one)}, {name(*two)}, and nothing orders them; let the "
            f"{two[1].unit.name} unit of the second wait for the first")
