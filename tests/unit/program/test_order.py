"""The ordering model against a graph of events, and the search for hazards against all pairs."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import numpy as np
import pytest
from scheduled import Scheduled, all_kinds

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import UNITS_OF, Opcode, Semaphore, Unit, pack_descriptor
from pynq_train.hw.config import ZYNQ7020
from pynq_train.program import Program, Region, verify_program
from pynq_train.program.access import Access
from pynq_train.program.hazards import Order, check_hazards, check_signals
from pynq_train.program.spans import Spans

Fields = dict[str, int]
PLANNED = all_kinds()
STORE, UPDATE, SOFTMAX, VECTOR = (
    UNITS_OF[opcode][-1] for opcode in (Opcode.CONV, Opcode.UPDATE, Opcode.SOFTMAX, Opcode.VECTOR))
WAIT_OF = {Unit.X: "x", Unit.S: "s", STORE: "y", UPDATE: "x", SOFTMAX: "x", VECTOR: "x"}
SEMAPHORE = {
    Opcode.FENCE: 0, Opcode.CONV: Semaphore.CONV, Opcode.GRADIENT: Semaphore.UPDATE,
    Opcode.UPDATE: Semaphore.UPDATE, Opcode.SOFTMAX: Semaphore.SOFTMAX,
    Opcode.VECTOR: Semaphore.VECTOR, Opcode.NORM: Semaphore.VECTOR, Opcode.POOL: Semaphore.VECTOR}
TOUCHES: dict[Unit, tuple[tuple[bool, str], ...]] = {
    Unit.X: ((False, "streamed operand"),),
    Unit.S: ((False, "S operand"), (True, "channel sums")),
    STORE: ((False, "biases"), (True, "stored tensor"), (True, "stored flags"), (True, "record")),
    UPDATE: ((False, "masters"), (True, "masters"), (True, "16-bit copy")),
    SOFTMAX: ((False, "logits"), (True, "logit gradients"), (True, "record")),
    VECTOR: ((False, "map a"), (False, "map b"), (True, "result"), (True, "sums")),
}
"""What units read and write, by names that the verifier uses."""


def descriptor(opcode: Opcode, **waits: tuple[int, int]) -> Fields:
    """Prefix of a descriptor; ``waits``: semaphore and count by unit letter."""
    fields = {"pre.opcode": int(opcode), "pre.signal": int(SEMAPHORE[opcode])}
    for letter in "xsy":
        semaphore, count = waits.get(letter, (0, 0))
        fields |= {f"pre.wait_{letter}": count, f"pre.wait_{letter}_sem": int(semaphore)}
    return fields


def labels(fields: list[Fields]) -> list[str]:
    return [f"descriptor {k}" for k in range(len(fields))]


def random_fields(rng: random.Random, count: int) -> list[Fields]:
    """Descriptors with waits that end."""
    signalled = [0] * len(Semaphore)
    found = []
    for _ in range(count):
        opcode = rng.choice(list(Opcode))
        waits = {}
        for letter in "xsy":
            if rng.random() < 0.4:
                semaphore = rng.randrange(len(Semaphore))
                waits[letter] = semaphore, rng.randint(0, signalled[semaphore])
        found.append(descriptor(opcode, **waits))
        if opcode != Opcode.FENCE:
            signalled[SEMAPHORE[opcode]] += 1
    return found


class Events:
    """Starts of units and ends of descriptors, and what comes before what, edge by edge."""

    def __init__(self, fields: list[Fields]) -> None:
        self.fields = fields
        self._before: dict[object, set[object]] = {}
        started: dict[Unit, int] = {}
        for index, f in enumerate(fields):
            opcode = Opcode(f["pre.opcode"])
            units = [unit for unit in UNITS_OF[opcode] if unit in WAIT_OF]
            fences = [k for k in range(index) if fields[k]["pre.opcode"] == Opcode.FENCE]
            for unit in units:
                start = self._before.setdefault(("start", index, unit), set())
                if unit in started:
                    start.add(("start", started[unit], unit))
                letter = WAIT_OF[unit]
                same = [k for k in range(index) if fields[k]["pre.opcode"] != Opcode.FENCE
                        and fields[k]["pre.signal"] == f[f"pre.wait_{letter}_sem"]]
                start |= {("end", k) for k in same[:f[f"pre.wait_{letter}"]]}
                if unit == VECTOR:
                    start |= {("end", k) for k in range(index)
                              if VECTOR in UNITS_OF[Opcode(fields[k]["pre.opcode"])]}
                start |= {("end", k) for fence in fences for k in range(fence)}
                started[unit] = index
            self._before[("end", index)] = {("start", index, unit) for unit in units}

    def ended(self, first: int, second: int, unit: Unit, write: bool) -> bool:
        """Whether descriptor ``first`` has ended when a unit of ``second`` touches memory."""
        last = {("start", second, unit)}
        if write and unit in (STORE, UPDATE):
            last = set(self._before[("end", second)])
        seen: set[object] = set()
        while last:
            seen |= last
            last = set().union(*(self._before[event] for event in last)) - seen
        return ("end", first) in seen

    def ordered(self, first: int, access: Access, second: int, later: Access) -> bool:
        """The model of ``hazards.py``, rule by rule."""
        if self.ended(first, second, later.unit, later.write):
            return True
        loaded = access.unit in (Unit.X, Unit.S) and not access.write
        if loaded and any(self.ended(k, second, later.unit, later.write)
                          for k in range(first + 1, second)
                          if self.fields[k]["pre.opcode"] in (Opcode.CONV, Opcode.GRADIENT)):
            return True
        if not later.write:
            return False
        if later.unit == access.unit and later.unit not in (Unit.X, Unit.S):
            return not access.write or access.what == later.what
        behind_array = later.unit == STORE or (
            later.unit == UPDATE and self.fields[second]["pre.opcode"] == Opcode.GRADIENT)
        return behind_array and loaded


@dataclass(frozen=True)
class Touch:
    """An access of a random descriptor."""

    index: int
    access: Access


def random_touch(rng: random.Random, fields: list[Fields], index: int, spans: Spans) -> Touch:
    units = [u for u in UNITS_OF[Opcode(fields[index]["pre.opcode"])] if u in WAIT_OF]
    unit = rng.choice(units)
    write, what = rng.choice(TOUCHES[unit])
    return Touch(index, Access(unit, write, what, spans))


@pytest.mark.parametrize("seed", range(60))
def test_order_follows_from_events(seed: int) -> None:
    rng = random.Random(seed)
    fields = random_fields(rng, 9)
    order, events = Order(fields, labels(fields)), Events(fields)
    real = [k for k, f in enumerate(fields) if f["pre.opcode"] != Opcode.FENCE]
    for one in real:
        for two in (k for k in real if k > one):
            for _ in range(8):
                first, second = (random_touch(rng, fields, k, Spans.one(0, 8)) for k in (one, two))
                assert (order.ordered(one, first.access, two, second.access)
                        == events.ordered(one, first.access, two, second.access))


def program_of(fields: list[Fields]) -> Program:
    """A program whose descriptors are prefixes only."""
    regions = [Region("p.program", 0, 1024 * len(fields), "program"),
               Region("p.taps", 1024 * 64, 8, "taps"),
               Region("step_block", 1024 * 65, 64, "step block"),
               Region("map", 1024 * 66, 4096, "map")]
    return Program.make("p", b"".join(map(pack_descriptor, fields)), b"", regions, 1024 * 128,
                        ZYNQ7020)


IN_PLACE = [{"masters"}, {"running statistics"}, {"map a", "result"}, {"map b", "result"}]


@pytest.mark.parametrize("seed", range(120))
def test_hazards_are_found_among_all_pairs(seed: int) -> None:
    """Random accesses of few bytes: refused exactly where two of them meet out of order."""
    rng = random.Random(seed)
    fields = random_fields(rng, rng.randint(1, 5))
    events = Events(fields)
    touches = []
    for index, f in enumerate(fields):
        for _ in range(rng.randint(0, 2) if f["pre.opcode"] != Opcode.FENCE else 0):
            starts = np.array([rng.randint(0, 15) for _ in range(rng.randint(1, 2))], np.int64)
            ends = starts + rng.randint(1, 3)
            touches.append(random_touch(rng, fields, index, Spans.of(starts, ends)))
    bad = []
    for j, two in enumerate(touches):
        for one in touches[:j]:
            a, b = one.access, two.access
            meet = {x for s, e in zip(a.spans.starts, a.spans.ends) for x in range(s, e)} & {
                x for s, e in zip(b.spans.starts, b.spans.ends) for x in range(s, e)}
            if not meet or not (a.write or b.write):
                continue
            if one.index == two.index:
                good = (a.unit == b.unit and a.spans.low == b.spans.low
                        and {a.what, b.what} in IN_PLACE)
            else:
                good = events.ordered(one.index, a, two.index, b)
            if not good:
                bad.append((one, two, min(meet)))
    each = [[t.access for t in touches if t.index == k] for k in range(len(fields))]
    program = program_of(fields)
    if not bad:
        check_hazards(program, labels(fields), each)
        return
    with pytest.raises(IllegalProgram) as found:
        check_hazards(program, labels(fields), each)
    texts = []
    for one, two, byte in bad:
        verbs = ["writes" if t.access.write else "reads" for t in (one, two)]
        names = [f"descriptor {t.index} {verb} its {t.access.what}"
                 for t, verb in zip((one, two), verbs)]
        where = program.locate(byte)
        texts.append(
            f"{names[0]} and {verbs[1]} its {two.access.what} at {where}: they must not overlap"
            if one.index == two.index else
            f"hazard at {where}: {names[0]}, {names[1]}, and nothing orders them; let the "
            f"{two.access.unit.name} unit of the second wait for the first")
    assert any(str(found.value).startswith(text) for text in texts)


@pytest.mark.parametrize("pair", [("masters", "masters"), ("map a", "result"), ("map b", "result"),
                                  ("running statistics", "running statistics")])
def test_in_place_begins_at_the_same_byte(pair: tuple[str, str]) -> None:
    """One word further on, an element would be overwritten before it is read."""
    fields = [descriptor(Opcode.VECTOR)]

    def check(low: int, high: int, unit: Unit = VECTOR) -> None:
        check_hazards(program_of(fields), labels(fields), [[
            Access(VECTOR, False, pair[0], Spans.one(64, 64)),
            Access(unit, True, pair[1], Spans.one(low, high - low))]])

    check(64, 128)
    check(64, 72)
    check(128, 256)
    check(0, 64)
    for low, high in ((72, 136), (56, 120), (120, 256), (0, 72)):
        with pytest.raises(IllegalProgram, match="they must not overlap"):
            check(low, high)
    with pytest.raises(IllegalProgram, match="they must not overlap"):
        check(64, 128, STORE)


@pytest.mark.parametrize("what", ["sums", "flags", "map c"])
def test_nothing_else_is_in_place(what: str) -> None:
    fields = [descriptor(Opcode.VECTOR)]
    for one, two in (("map a", what), (what, "result"), ("map a", "map b"), ("result", what)):
        with pytest.raises(IllegalProgram, match="they must not overlap"):
            check_hazards(program_of(fields), labels(fields), [[
                Access(VECTOR, False, one, Spans.one(64, 64)),
                Access(VECTOR, True, two, Spans.one(64, 64))]])


def test_bytes_that_touch_do_not_meet() -> None:
    fields = [descriptor(Opcode.CONV), descriptor(Opcode.CONV)]

    def check(start: int) -> None:
        check_hazards(program_of(fields), labels(fields), [
            [Access(STORE, True, "stored tensor", Spans.one(64, 64))],
            [Access(Unit.X, False, "streamed operand", Spans.one(start, 8))]])

    for start in (56, 128):
        check(start)
    for start in (57, 64, 120, 127):
        with pytest.raises(IllegalProgram, match="hazard at"):
            check(start)


# -- semaphores
@pytest.mark.parametrize("opcode", [o for o in Opcode if o != Opcode.FENCE])
@pytest.mark.parametrize("name", ["signal", "wait_x_sem", "wait_s_sem", "wait_y_sem"])
def test_semaphores_that_do_not_exist(opcode: Opcode, name: str) -> None:
    f = descriptor(opcode)
    check_signals([f], ["it"])
    with pytest.raises(IllegalProgram, match=rf"it: {name}: expected 0\.\.3, found 4"):
        check_signals([{**f, f"pre.{name}": 4}], ["it"])
    if name != "signal":
        check_signals([{**f, f"pre.{name}": 3}], ["it"])


def test_semaphores_of_a_fence_mean_nothing() -> None:
    check_signals([{**descriptor(Opcode.FENCE), "pre.signal": 9}], ["it"])


@pytest.mark.parametrize("one", [o for o in Opcode if o != Opcode.FENCE])
@pytest.mark.parametrize("two", [o for o in Opcode if o != Opcode.FENCE])
def test_kinds_that_share_a_semaphore(one: Opcode, two: Opcode) -> None:
    """GRADIENT with UPDATE; VECTOR, NORM and POOL; every other kind has one of its own."""
    fields = [{**descriptor(opcode), "pre.signal": 2} for opcode in (one, two)]
    if SEMAPHORE[one] == SEMAPHORE[two]:
        check_signals(fields, ["one", "two"])
        return
    with pytest.raises(IllegalProgram, match=r"two: signal: expected a semaphore each for .*found "
                                             r"SOFTMAX, which"):
        check_signals(fields, ["one", "two"])


@pytest.mark.parametrize("semaphore", Semaphore)
@pytest.mark.parametrize("waiting", [(Opcode.CONV, letter) for letter in "xsy"] + [
    (opcode, "x") for opcode in (Opcode.UPDATE, Opcode.SOFTMAX, Opcode.VECTOR, Opcode.NORM,
                                 Opcode.POOL)] + [(Opcode.GRADIENT, letter) for letter in "xsy"])
def test_waits_that_would_never_end(semaphore: Semaphore, waiting: tuple[Opcode, str]) -> None:
    """As many as are in front may be waited for: not one more, and not itself."""
    opcode, letter = waiting
    kind = next(o for o in (Opcode.CONV, Opcode.UPDATE, Opcode.SOFTMAX, Opcode.NORM)
                if SEMAPHORE[o] == semaphore)
    front = [descriptor(kind), descriptor(Opcode.FENCE), descriptor(kind)]
    names = [*labels(front), "it"]
    Order([*front, descriptor(opcode, **{letter: (semaphore, 2)})], names)
    with pytest.raises(IllegalProgram, match=f"it: wait_{letter} would never end: expected at most "
                                             f"2, the {semaphore.name} descriptors in front, "
                                             "found 3"):
        Order([*front, descriptor(opcode, **{letter: (semaphore, 3)})], names)


def waits_of(planned: Scheduled) -> list[tuple[int, str]]:
    """A descriptor of each opcode, and the units of it that wait."""
    first = {}
    for number, f in enumerate(planned.fields):
        first[Opcode(f["pre.opcode"])] = number
    return [(number, letter) for opcode, number in first.items()
            for letter in sorted({WAIT_OF[u] for u in UNITS_OF[opcode] if u in WAIT_OF})]


@pytest.mark.parametrize(("number", "letter"), waits_of(PLANNED))
def test_deadlocks_of_a_whole_program(number: int, letter: str) -> None:
    for semaphore in Semaphore:
        there = sum(f["pre.signal"] == semaphore for f in PLANNED.fields[:number])
        changed = {f"pre.wait_{letter}_sem": int(semaphore), f"pre.wait_{letter}": there + 1}
        with pytest.raises(IllegalProgram, match=re.escape(f"descriptor {number} ")
                           + f".*wait_{letter} would never end: expected at most {there},"):
            verify_program(PLANNED.program({number: changed}))


def test_waiting_for_all_in_front_is_legal() -> None:
    """The last descriptor waits for everything before it, one semaphore after the other."""
    number, letter = len(PLANNED.fields) - 1, "x"
    own = PLANNED.fields[number]["pre.wait_x_sem"]
    there = sum(f["pre.signal"] == own for f in PLANNED.fields[:number])
    verify_program(PLANNED.program({number: {f"pre.wait_{letter}": there}}))


@pytest.mark.parametrize("later", [Opcode.CONV, Opcode.GRADIENT])
@pytest.mark.parametrize("loader", [Unit.X, Unit.S])
def test_loads_are_over_when_a_later_descriptor_of_the_array_is(later: Opcode, loader: Unit
                                                                 ) -> None:
    """The vector unit may write where a GRADIENT has read, if it waits for what came behind it."""
    read, write = (Access(unit, to, what, Spans.one(0, 8))
                   for unit, to, what in ((loader, False, ""), (VECTOR, True, "result")))
    count = 2 if later == Opcode.GRADIENT else 1
    for waits, expected in ((count, True), (count - 1, False)):
        fields = [descriptor(Opcode.GRADIENT), descriptor(later),
                  descriptor(Opcode.VECTOR, x=(SEMAPHORE[later], waits))]
        order = Order(fields, labels(fields))
        # Of two GRADIENTs the first alone is complete then, which is enough.
        assert order.ordered(0, read, 2, write) is (expected or later == Opcode.GRADIENT)
        assert not order.ordered(1, read, 2, write) or expected
        if later == Opcode.CONV:
            other = Access(loader, True, "channel sums", Spans.one(0, 8))
            assert not order.ordered(0, other, 2, write), "what it writes may still be under way"
