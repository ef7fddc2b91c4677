"""A selector: devices ask which arm to take, and report later how satisfied their users are."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pynq_train.arrays import plain
from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput, DoesNotFit, UnknownName
from pynq_train.files.schema import Flag, Items, Number, Record, Table, Text, Whole
from pynq_train.files.tensors import TensorFile
from pynq_train.select.arms import MOST_ARMS, Arm, Cost, distinct
from pynq_train.select.features import FEATURES, SIZE, Situation, feature_array
from pynq_train.select.policies import POLICIES, LinUCB, Policy, make_policy, number
from pynq_train.select.ridge import Floats

EPOCHS = 20
"""Passes over the samples of an adaptation, for its predicted time."""
OPEN = 8
"""Tickets of a device that can be open at once."""
LIFETIME_S = 86_400.0
"""Seconds after which an answer comes too late."""
MOST_DEVICES = 100_000
_MOST_OPEN = 1000
_MOST_NAME = 200

_FILE = TensorFile("selector", "a selector", "pynq_train.selector", version=1, readable=(1,))
_COUNT = Whole(0, (1 << 62) - 1)
_ARM = Record({"model": Text(_MOST_NAME), "rung": Text(_MOST_NAME), "costs": Table(Record({
    "cycles": _COUNT, "nbytes": _COUNT, "image_s": Number(0, 1e9)}), 1000)})
_TICKET = Record({"number": _COUNT, "given": Number(), "arm": Whole(0, MOST_ARMS - 1),
                  "answered": Flag(), "x": Items(Number(0, 1), least=SIZE, most=SIZE)})
_DEVICE = Record({"name": Text(_MOST_NAME), "board": Text(_MOST_NAME), "turns": _COUNT,
                  "tickets": Items(_TICKET, most=_MOST_OPEN)})
_STATE = Record({
    "policy": Text(among=tuple(POLICIES)), "settings": Table(Number(), 100),
    "features": Items(Text(100), most=100), "epochs": Whole(1, 1 << 30),
    "most_open": Whole(1, _MOST_OPEN), "lifetime_s": Number(0),
    "arms": Items(_ARM, least=1, most=MOST_ARMS), "devices": Items(_DEVICE, most=MOST_DEVICES),
}, open=True)
"""What a file holds beside the arrays of the policy."""


@dataclass(frozen=True)
class Choice:
    """What a device is told.

    Attributes:
        ticket: what the answer goes with.
        arm: model and rung to take.
        expected: QoE that is expected of it; no promise, it may be below 0 or above 1.
        seconds: predicted time of the adaptation.
        nbytes: bytes of device memory that it takes.
    """

    ticket: str
    arm: Arm
    expected: float
    seconds: float
    nbytes: int


@dataclass
class _Ticket:
    """A choice whose answer may still come."""

    number: int
    given: float
    arm: int
    x: Floats
    answered: bool = False


@dataclass
class _Device:
    """A device: its board, how often it has asked, its last tickets."""

    board: str
    turns: int = 0
    tickets: deque[_Ticket] = field(default_factory=deque)


class Selector:
    """Chooses a model and a rung of adaptation for each device, and learns from its users.

    Each device has a state of its own; a new one may begin with what the others have learnt
    (:meth:`add`). What is refused leaves everything as it was.

    Args:
        arms: what there is to choose from (:func:`~pynq_train.select.arms.make_arms`).
        devices: names of boards by names of devices.
        policy: one of :data:`~pynq_train.select.policies.POLICIES`.
        epochs: passes over the samples of an adaptation.
        most_open: tickets of a device that can be open at once; the oldest expires before one more.
        lifetime_s: seconds after which an answer comes too late.
        clock: tells the time in seconds; the choices do not depend on it.
        **settings: of the policy, such as ``alpha``.

    Raises:
        BadInput: an argument is out of range, or an arm is there twice.
        UnknownName: no such policy, setting or board.
    """

    def __init__(self, arms: Sequence[Arm], devices: Mapping[str, str], *,
                 policy: str = LinUCB.kind, epochs: int = EPOCHS, most_open: int = OPEN,
                 lifetime_s: float = LIFETIME_S, clock: Callable[[], float] = time.time,
                 **settings: Any) -> None:
        if len(arms) > MOST_ARMS:
            raise BadInput("arms", expected=f"at most {MOST_ARMS}", found=len(arms))
        distinct("arms", [arm.name for arm in arms])
        self.arms = tuple(arms)
        self.epochs = _whole("epochs", epochs, 1 << 30)
        self.most_open = _whole("most_open", most_open, _MOST_OPEN)
        self.lifetime_s = number("lifetime_s", lifetime_s, 0, 1e12)
        self._clock = clock
        self._rows: dict[str, int] = {}
        self._devices: list[_Device] = []
        for name, board in devices.items():
            self._check_new(name, board)
            self._rows[name] = len(self._devices)
            self._devices.append(_Device(board))
        self._policy: Policy = make_policy(policy, len(devices), len(arms), SIZE, **settings)

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices."""
        return tuple(self._rows)

    @property
    def policy(self) -> Policy:
        """What chooses; its rows are the devices in order."""
        return self._policy

    def add(self, device: str, board: str, warm: float = 0.0) -> None:
        """Add a device.

        Args:
            device: its name.
            board: its board.
            warm: answers per arm that the mean of the other devices counts for: 0: it begins with
                nothing; 20 save it most trials where users are alike, and are soon outweighed where
                they are not.

        Raises:
            BadInput: the name is taken or none, there are too many, or ``warm`` is out of range.
            UnknownName: no such board.
        """
        self._check_new(device, board)
        warm = number("warm", warm, 0, 1e9)
        self._policy.add(warm)
        self._rows[device] = len(self._devices)
        self._devices.append(_Device(board))

    def choose(self, device: str, situation: Situation) -> Choice:
        """Return what a device should take, with a ticket for the answer.

        Args:
            device: its name.
            situation: what it and its data are like now.

        Raises:
            UnknownName: no such device.
            BadInput: ``situation`` is none.
            DoesNotFit: no arm fits the memory that is free.
        """
        row, found = self._found(device)
        if not isinstance(situation, Situation):
            raise BadInput("situation", expected="a pynq_train.select.Situation",
                           found=type(situation).__name__)
        costs = [arm.costs.get(found.board) for arm in self.arms]
        allowed = np.array([cost is not None and cost.nbytes <= situation.free_bytes
                            for cost in costs])
        if not allowed.any():
            raise self._no_arm(found.board, situation.free_bytes)
        # What is not allowed needs figures too; which ones makes no difference.
        seconds = np.array([cost.image_s if cost else 1.0 for cost in costs]
                           ) * situation.samples * self.epochs
        nbytes = np.array([cost.nbytes if cost else 1 for cost in costs])
        x = feature_array(battery=situation.battery, temperature_c=situation.temperature_c,
                          seconds=seconds, deadline_s=situation.deadline_s, nbytes=nbytes,
                          free_bytes=situation.free_bytes, classes=situation.classes,
                          samples=situation.samples, shift=situation.shift)
        rows = slice(row, row + 1)
        arm = int(self._policy.choose(rows, x[None], allowed[None], np.array([found.turns]))[0])
        expected = float(self._policy.expected(rows, x[None])[0, arm])
        ticket = _Ticket(found.turns, float(self._clock()), arm, x[arm])
        if len(found.tickets) == self.most_open:
            found.tickets.popleft()
        found.tickets.append(ticket)
        found.turns += 1
        return Choice(f"{device}#{ticket.number}", self.arms[arm], expected, float(seconds[arm]),
                      int(nbytes[arm]))

    def reward(self, ticket: str, qoe: float) -> None:
        """Learn how satisfied a user was.

        Args:
            ticket: that of the choice.
            qoe: quality of experience, 0 (useless) to 1 (perfect).

        Raises:
            UnknownName: the ticket is of an unknown device.
            BadInput: it is no ticket, was never given, has expired or has been answered; or the QoE
                is no number of 0 to 1.
        """
        device, mark, text = ticket.rpartition("#") if isinstance(ticket, str) else ("", "", "")
        if not mark or not (text.isascii() and text.isdigit()) or len(text) > 20:
            raise BadInput("ticket", expected="one that choose has given, such as 'kitchen#7'",
                           found=repr(ticket)[:80])
        row, found = self._found(device)
        if int(text) >= found.turns or str(int(text)) != text:
            raise BadInput(f"ticket {ticket!r}", expected="one that has been given",
                           found=f"{found.turns} tickets of {device!r}")
        held = next((one for one in found.tickets if one.number == int(text)), None)
        if held is None:
            raise BadInput(f"ticket {ticket!r} is late", expected=f"one of the last "
                           f"{self.most_open} of {device!r}", found=f"{found.turns} given",
                           fix="answer sooner, or leave it: nothing was changed")
        if held.answered:
            raise BadInput(f"ticket {ticket!r}", expected="one without an answer",
                           found="one that has been answered")
        age = float(self._clock()) - held.given
        if age > self.lifetime_s:
            raise BadInput(f"ticket {ticket!r} is late", found=f"{age:.0f} s",
                           expected=f"an answer within {self.lifetime_s:g} s",
                           fix="answer sooner, or leave it: nothing was changed")
        value = number(f"QoE of ticket {ticket!r}", qoe, 0, 1)
        self._policy.learn(np.array([row]), np.array([held.arm]), held.x[None], np.array([value]))
        held.answered = True

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the selector to a file, with open tickets and a checksum.

        Raises:
            BadInput: it cannot be written.
            MissingTool: the package safetensors is not installed.
        """
        policy = self._policy
        devices = [{"name": name, "board": one.board, "turns": one.turns, "tickets": [
            {"number": held.number, "given": held.given, "arm": held.arm,
             "answered": held.answered, "x": held.x.tolist()} for held in one.tickets]}
            for name, one in zip(self._rows, self._devices)]
        arms = [{"model": arm.model, "rung": arm.rung, "costs": {
            board: {"cycles": cost.cycles, "nbytes": cost.nbytes, "image_s": cost.image_s}
            for board, cost in arm.costs.items()}} for arm in self.arms]
        _FILE.write(path, {
            "policy": policy.kind, "settings": policy.settings, "features": list(FEATURES),
            "epochs": self.epochs, "most_open": self.most_open, "lifetime_s": self.lifetime_s,
            "arms": arms, "devices": devices}, policy.arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
             ) -> Selector:
        """Return a saved selector, which goes on with the same choices.

        Args:
            path: the file.
            clock: as of the class.

        Raises:
            BadInput: no such file, damaged, of another version, or no saved selector.
            MissingTool: the package safetensors is not installed.
        """
        meta, arrays = _FILE.read(path)
        where = f"selector file {os.fspath(path)!r}"
        state = _STATE.check(meta, where)
        if state["features"] != list(FEATURES):
            raise BadInput(f"{where}: features", expected=", ".join(FEATURES),
                           found=", ".join(state["features"]), fix="use the release that saved it")
        arms = [Arm(one["model"], one["rung"], {
            board: Cost(**cost) for board, cost in one["costs"].items()}) for one in state["arms"]]
        settings = {name: int(value) if name == "seed" else value
                    for name, value in state["settings"].items()}
        self = cls(arms, {}, policy=state["policy"], epochs=state["epochs"],
                   most_open=state["most_open"], lifetime_s=state["lifetime_s"], clock=clock,
                   **settings)
        for one in state["devices"]:
            self._put_device(where, one)
        _check_arrays(where, self._policy, arrays, len(self._devices))
        self._policy.put({name: arrays[name].copy() for name in self._policy.arrays()})
        self._policy.check(where)
        return self

    def _put_device(self, where: str, state: Mapping[str, Any]) -> None:
        """Take a device of a file."""
        name, turns, tickets = state["name"], state["turns"], state["tickets"]
        numbers = [held["number"] for held in tickets]
        fine = name not in self._rows and len(numbers) <= self.most_open and numbers == list(
            range(turns - len(numbers), turns)) and all(
            held["arm"] < len(self.arms) for held in tickets)
        if not fine:
            raise BadInput(f"{where}: device {name[:80]!r}", expected="a new name, and its last "
                           "tickets in order", found="others", fix="use a copy, or an earlier file")
        board_of(state["board"])
        self._rows[name] = len(self._devices)
        self._devices.append(_Device(state["board"], turns, deque(
            _Ticket(held["number"], held["given"], held["arm"], np.array(held["x"]),
                    held["answered"]) for held in tickets)))

    def _check_new(self, device: str, board: str) -> None:
        """Refuse what cannot be added; errors as of :meth:`add`."""
        if not isinstance(device, str) or not 0 < len(device) <= _MOST_NAME:
            raise BadInput("device", expected=f"a name of 1 to {_MOST_NAME} characters",
                           found=repr(device)[:80])
        if device in self._rows or len(self._rows) >= MOST_DEVICES:
            raise BadInput(f"device {device!r}", found="one that is there" if device in self._rows
                           else f"{len(self._rows)}", expected=f"a new one, of {MOST_DEVICES}")
        board_of(board)

    def _found(self, device: str) -> tuple[int, _Device]:
        """Return row and state of a device."""
        if not isinstance(device, str) or device not in self._rows:
            some = ", ".join([*self._rows][:10]) + (" ..." if len(self._rows) > 10 else "")
            raise UnknownName(f"unknown device {str(device)[:80]!r}",
                              expected=f"one of {some or 'none yet'}",
                              fix="add it: selector.add(device, board)")
        row = self._rows[device]
        return row, self._devices[row]

    def _no_arm(self, board: str, free_bytes: int) -> DoesNotFit:
        """Return the error where no arm fits."""
        fitting = [(arm.costs[board].nbytes, arm.name) for arm in self.arms if board in arm.costs]
        if not fitting:
            return DoesNotFit(f"arms on {board}", expected="one that this board has", found="none",
                              fix="make arms for it: make_arms(..., boards=[...])")
        least, name = min(fitting)
        return DoesNotFit(f"arms on {board}", expected=f"{least} free bytes or more, for {name}",
                          found=free_bytes)


def _check_arrays(where: str, policy: Policy, arrays: Mapping[str, Any], devices: int) -> None:
    """Check names, shapes, dtypes and finiteness of a policy's arrays.

    Raises:
        BadInput: they are others than the policy's for so many devices.
    """
    for name, empty in policy.arrays().items():
        array, shape = arrays.get(name), (devices, *empty.shape[1:])
        if array is None or array.shape != shape or array.dtype != empty.dtype:
            raise BadInput(f"{where}: {name}", expected=f"{empty.dtype} {shape}",
                           found="nothing" if array is None else f"{array.dtype} {array.shape}")
        if not all(math.isfinite(value) for value in (array.min(initial=0), array.max(initial=0))):
            raise BadInput(f"{where}: {name}", expected="finite numbers", found="others")


def _whole(name: str, value: Any, most: int) -> int:
    """Return an integer of 1 to ``most``.

    Raises:
        BadInput: it is something else.
    """
    value = plain(value)
    if type(value) is not int or not 1 <= value <= most:
        raise BadInput(name, expected=f"an integer of 1 to {most}", found=repr(value)[:80])
    return value
