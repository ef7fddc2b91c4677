"""A segment on a member, as its coordinator's pipeline has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pynq_train.errors import BadInput, BadMessage, MemberLost
from pynq_train.fleet import requests
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.segment import SegmentInput, SegmentOutput
from pynq_train.fleet.segment_plan import SegmentPlan
from pynq_train.fleet.wire import Arrays, Values
from pynq_train.run.masters import Masters
from pynq_train.run.tensors import from_tensors, to_tensors

_KEY = 0
"""Number of the segment at the member, which has one at a time: another one takes its place."""


class RemoteStage:
    """A segment that a member runs; it satisfies :class:`~pynq_train.fleet.segment.Stage`.

    Args:
        remote: the member, joined.
        part: the segment, planned for the member's board.
        seconds: to the deadline of each request.

    Raises:
        FleetError: the member is lost, or cannot put the segment up.
    """

    def __init__(self, remote: Remote, part: SegmentPlan, seconds: float) -> None:
        self.remote, self.part = remote, part
        self._seconds = seconds
        self._lost: MemberLost | None = None
        self._ask(requests.OPEN, requests.SegmentSpec.of(part).values(_KEY), {})

    def forward(self, request: SegmentInput) -> SegmentOutput:
        """Run the forward half of a training step.

        Raises:
            FleetError: the member is lost, or answers with an error or nonsense.
        """
        return self._run(requests.FORWARD, request)

    def backward(self, request: SegmentInput) -> SegmentOutput:
        """Run the backward half and the updates; raises as :meth:`forward`."""
        return self._run(requests.BACKWARD, request)

    def evaluate(self, request: SegmentInput) -> SegmentOutput:
        """Run the forward pass of an evaluation; raises as :meth:`forward`."""
        return self._run(requests.EVALUATE, request)

    def read_masters(self) -> dict[str, Masters]:
        """Return weights, momentum and running statistics of the segment's layers, by name.

        Raises:
            FleetError: as :meth:`forward`.
        """
        _, arrays = self._ask(requests.READ, {"key": _KEY}, {})
        where = f"the answer of member {self.remote.name!r}"
        layers = [self.part.cut.layers[at] for at in self.part.layers]
        try:
            return {layer.name: from_tensors(where, layer, arrays)
                    for layer in layers if layer.has_parameters}
        except (BadInput, KeyError) as error:
            raise BadMessage(f"masters in {where}: {error}") from None

    def write_masters(self, masters: Mapping[str, Masters], exponents: Sequence[int]) -> None:
        """Send the masters of the segment's layers; those of others stay here.

        Raises:
            FleetError: as :meth:`forward`.
        """
        names = {self.part.cut.layers[at].name for at in self.part.layers}
        own = {name: one for name, one in masters.items() if name in names}
        self._ask(requests.WRITE, requests.write_values(_KEY, exponents),
                  dict(to_tensors(own)))

    def _run(self, name: str, request: SegmentInput) -> SegmentOutput:
        values, arrays = requests.to_input(_KEY, request)
        try:
            return requests.from_output(name, *self._ask(name, values, arrays))
        except BadInput as error:
            raise BadMessage(f"answer of member {self.remote.name!r}: {error}") from None

    def _ask(self, name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
        """Ask the member; once it is lost or overdue, nobody waits for it again.

        What it was asked for may have been done or not: its segment is of no use any more.
        """
        if self._lost is not None:
            raise type(self._lost)(str(self._lost), member=self.remote.name)
        try:
            return self.remote.ask(name, values, arrays, seconds=self._seconds)
        except MemberLost as error:
            self._lost = error
            raise
