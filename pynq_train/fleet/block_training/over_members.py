"""Blocks on members of a fleet: who runs which block, and what happens when one is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Protocol, TypeVar

from pynq_train.backends import Backend
from pynq_train.errors import BadInput, MemberLost
from pynq_train.fleet.block_training.block import Block
from pynq_train.fleet.members import Members
from pynq_train.fleet.remote_backend import RemoteBackend

_MOST_LOSSES = 8
"""Members that may be lost in a training: then something else is wrong."""
Opened = Callable[[int, int], Backend]
"""Opens the board of a block, given its number and the bytes of its arena."""
T_co = TypeVar("T_co", covariant=True)


class Attempt(Protocol[T_co]):
    """A training of all blocks, from its beginning or from its checkpoint."""

    def __call__(self, boards: Sequence[str], opened: Opened, resume: bool,
                 saved: Callable[[], None]) -> T_co:
        """Train.

        Args:
            boards: backend of each block.
            opened: opens them.
            resume: go on from the checkpoint.
            saved: is called when there is a checkpoint of this training.
        """


def over_members(place: Members, blocks: Sequence[Block], train: Attempt[T_co], resume: bool,
                 kept: bool, to: ExitStack) -> T_co:
    """Train blocks on members, one each; with a checkpoint the training outlives their loss.

    A spare member (or the lost one, if it has come back) takes the block of a lost one over, and
    all blocks go back to the last checkpoint, or to their beginning: the bits are those of a
    training in which nothing was lost.

    Args:
        place: the members, cut where the blocks end.
        blocks: the blocks.
        train: trains.
        resume: go on from the checkpoint at first.
        kept: there is a checkpoint, so that a loss need not end the training.
        to: leaves the members.

    Raises:
        BadInput: the members are those of other blocks.
        FleetError: a member is lost, and nobody may or can take over.
    """
    ends = [block.after for block in blocks[:-1]]
    if sorted(place.after) != sorted(ends) or place.in_flight != 1:
        raise BadInput("members for blocks", expected="some that are cut after "
                       f"{', '.join(ends) or 'nothing'}, one mini-batch in flight",
                       found=f"after {', '.join(place.after) or 'nothing'}, {place.in_flight}",
                       fix="name the same operations in blocks(...) and Members.at(...)")
    begun = [resume]

    def saved() -> None:
        begun[0] = True

    crew = place.joined(to)
    for left in reversed(range(1 + _MOST_LOSSES)):
        try:
            return train(crew.boards, lambda number, nbytes: RemoteBackend(
                crew.remotes[number], nbytes, place.seconds).open(), begun[0], saved)
        except MemberLost as error:
            numbers = crew.numbers(error.member)
            if place.on_loss == "error" or not kept or not numbers or not left:
                raise
            crew.succeed(numbers[0], error)
    raise AssertionError("the last attempt returns or raises")
