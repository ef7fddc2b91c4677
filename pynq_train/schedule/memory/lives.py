"""From when to when each tensor is needed in a program, and who may follow whom at one place.

Order in the program is not enough: units work side by side. A tensor may stand where another one
stood if all that was done to that one is over by then, as ``program.hazards`` proves it from the
waits which are there anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

from pynq_train.hw.commands import Opcode, Unit
from pynq_train.program.access import Access
from pynq_train.program.hazards import Order
from pynq_train.program.spans import Spans
from pynq_train.schedule.passes.descriptors import Descriptor
from pynq_train.schedule.passes.symbols import Network
from pynq_train.schedule.passes.usage import Waits, usage

_NO_WAITS = {f"pre.wait_{unit}{end}": 0 for unit in "xsy" for end in ("", "_sem")}
_WRITER = {Opcode.CONV: Unit.STORE, Opcode.GRADIENT: Unit.S, Opcode.SOFTMAX: Unit.SOFTMAX}
"""Unit that writes what :class:`~pynq_train.schedule.passes.usage.Usage` names; else VECTOR."""
_Touch = tuple[int, Access]
"""A descriptor's number, and what one of its units does to a tensor."""


class Lives:
    """The lives of some tensors in one program.

    Args:
        network: the network.
        descriptors: the program.
        train: it is a training step, not an evaluation.
        place_of: returns the region in which a tensor stands if each has a place of its own.
        wanted: the regions that are asked for.
    """

    def __init__(self, network: Network, descriptors: Sequence[Descriptor], train: bool,
                 place_of: Callable[[str], str], wanted: Iterable[str]) -> None:
        waits, nowhere = Waits(network), Spans.one(0, 0)
        access = {(unit, write): Access(unit, write, "", nowhere)
                  for unit, write in product(Unit, (False, True))}
        # By region: the first and the last touch of each unit, reading or writing, and signal.
        self._first: dict[str, dict[object, _Touch]] = {region: {} for region in wanted}
        self._last: dict[str, dict[object, _Touch]] = {region: {} for region in wanted}
        fields = []
        for number, descriptor in enumerate(descriptors):
            use = usage(network, descriptor, train)
            own = {**_NO_WAITS, **waits.next(descriptor, use)}
            fields.append(own)
            writer = _WRITER.get(descriptor.role.opcode, Unit.VECTOR)
            touched = [(unit, False, tensors) for unit, tensors in use.reads]
            for unit, write, tensors in (*touched, (writer, True, use.writes)):
                for region in {place_of(tensor) for tensor in tensors} & self._first.keys():
                    key = unit, write, own["pre.signal"]
                    self._first[region].setdefault(key, (number, access[unit, write]))
                    self._last[region][key] = number, access[unit, write]
        self._order = Order(fields, [""] * len(fields))

    def apart(self, one: str, other: str) -> bool:
        """Return whether one of two regions may stand where the other one stood before it."""
        return self._follows(one, other) or self._follows(other, one)

    def touched(self, region: str) -> bool:
        """Return whether the program touches a region."""
        return bool(self._first[region])

    def _follows(self, earlier: str, later: str) -> bool:
        """Return whether all that is done to a region is over before anything is to another one."""
        ends, begins = self._last[earlier].values(), self._first[later].values()
        # What a unit knows to be complete grows from descriptor to descriptor, so that the last
        # touch of each kind stands for the ones before it, and the first for those behind.
        return all(a < b and ((not one.write and not other.write)
                              or self._order.ordered(a, one, b, other))
                   for (a, one), (b, other) in product(ends, begins))
