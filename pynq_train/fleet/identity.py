"""What a member says of itself, and whether it fits: version and hardware contract."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from typing import Any

from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput, BadMessage, JoinRefused
from pynq_train.files.schema import Record, Text, Whole
from pynq_train.fleet.transport.base import check_name
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.contract import contract_hash
from pynq_train.version import VERSION

PROTOCOL = 1
"""Version of what coordinators and members say to each other."""
_SCHEMA = Record({"name": Text(63), "board": Text(100), "version": Text(100),
                  "contract": Text(64), "protocol": Whole(0, 1 << 31), "machine": Text(100),
                  "python": Text(100)}, open=True)


@dataclass(frozen=True)
class Identity:
    """Who a member is.

    Attributes:
        name: of the member, as in its certificate.
        board: backend that it runs, such as ``golden`` or ``virtual:pynq-z2``.
        version: of the package.
        contract: hash of what its engine decodes, 64 hexadecimal digits.
        protocol: version of the fleet's messages.
        machine: of the processor, such as ``armv7l``.
        python: version of the interpreter.
    """

    name: str
    board: str
    version: str
    contract: str
    protocol: int = PROTOCOL
    machine: str = ""
    python: str = ""

    @classmethod
    def of(cls, name: str, board: str) -> Identity:
        """Return the identity of a member on this machine.

        Raises:
            UnknownName: no such board.
            BadInput: the name is none.
        """
        return cls(check_name(name), board, VERSION, contract_of(board), PROTOCOL,
                   platform.machine(), platform.python_version())

    def values(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Any) -> Identity:
        """Return the identity that a message holds.

        Raises:
            BadMessage: it holds none.
        """
        try:
            return cls(**_SCHEMA.check(values, "identity of a member"))
        except BadInput as error:
            raise BadMessage(str(error)) from None

    def check(self, name: str) -> None:
        """See that a coordinator of this machine can work with the member.

        Args:
            name: who was called.

        Raises:
            JoinRefused: another member answers, its version is another, or its engine decodes
                something else than this package makes for its board.
        """
        if self.name != name:
            raise JoinRefused(f"member {name!r}", expected="an answer of its own",
                              found=f"one of {self.name[:63]!r}", fix="check the addresses")
        check_version(f"member {name!r}", self.protocol, self.version)
        mine = contract_of(self.board)
        if self.contract != mine:
            raise JoinRefused(f"member {name!r} ({self.board})",
                              expected=f"the hardware contract {mine[:8]}",
                              found=self.contract[:8], fix="install the same release everywhere")


def check_version(who: str, protocol: int, version: str) -> None:
    """See that a peer has this package's version.

    Args:
        who: names the peer in the error's text.
        protocol: of its messages.
        version: of its package.

    Raises:
        JoinRefused: it has another.
    """
    if (protocol, version) != (PROTOCOL, VERSION):
        raise JoinRefused(f"{who} has another version",
                          expected=f"pynq_train {VERSION} (messages {PROTOCOL})",
                          found=f"{version[:40]} (messages {protocol})",
                          fix="install the same release everywhere")


def contract_of(board: str) -> str:
    """Return the contract hash of a backend's engine.

    Raises:
        UnknownName: no such backend.
    """
    return contract_hash(board_of(board).config)


def known_contracts() -> list[str]:
    """Return the hashes of all engines that this package makes programs for."""
    return sorted({contract_hash(board.config) for board in BOARDS.values()})
