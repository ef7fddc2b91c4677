"""Named errors of pynq_train; each text says what was expected, what was found and what to do."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_HERE = str(Path(__file__).parent)


class PynqTrainError(Exception):
    """Base of every error that pynq_train raises on purpose.

    The command line prints the text alone and leaves with ``exit_code``.

    Args:
        what: one clear sentence, or the subject of one.
        expected: what would have been right; with ``found`` the text becomes ``what: expected ...,
            found ...``.
        found: what there was instead.
        fix: what to do; it is appended behind a semicolon.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        self.fix = fix
        parts = []
        if expected is not None:
            parts.append(f"expected {expected}")
        if found is not None:
            parts.append(f"found {found}")
        text = what
        if parts:
            text += ": " + ", ".join(parts)
        if fix:
            text += "; " + fix
        super().__init__(text)

    def add(self, text: str) -> None:
        """Append a sentence to the text: what was done about the error on its way up."""
        self.args = (f"{self}; {text}",)


class BadInput(PynqTrainError):
    """Something the user passed is malformed: a file, a shape, a dtype, a value."""

    exit_code = 2


class DataWarning(UserWarning):
    """Data that are used as they are, but look as if something else was meant."""


class LabelWarning(DataWarning):
    """Labels from which not all classes can be learnt."""


class OutlierWarning(DataWarning):
    """A few values are so large that 16 bits hold next to nothing of the others."""


class TrainingWarning(UserWarning):
    """A training that runs, but does not do what trainings are for."""


class DivergenceWarning(TrainingWarning):
    """The loss rises, is stuck far above its start, or is no number any more."""


class SaturationWarning(TrainingWarning):
    """Values of a tensor saturate step after step."""


class ClippingWarning(TrainingWarning):
    """Weights, biases or their momentum stand at the limit of their format."""


class StandstillWarning(TrainingWarning):
    """Nothing, or a layer, does not learn: the rate is too small, or no gradient arrives."""


class NormalisationWarning(TrainingWarning):
    """A normalisation measures mean and deviation on too few values."""


def warn_user(category: type[UserWarning], text: str) -> None:
    """Warn at the line of the user's program that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def warn_once(category: type[UserWarning], text: str, warned: set[str], kind: str = "") -> None:
    """Warn of a kind of thing once.

    Args:
        category: class of the warning.
        text: what was expected, what was found, and what to do.
        warned: kinds that have been given; this one is added.
        kind: its name (default: that of the class, where a class is of one kind).
    """
    kind = kind or category.__name__
    if kind not in warned:
        warned.add(kind)
        warn_user(category, text)


class ModelWarning(UserWarning):
    """A network that is imported, but trains or answers otherwise than the original."""


class UnsupportedModel(BadInput):
    """The network holds an operation or an order of operations that the engine does not run."""


class UnknownName(BadInput):
    """A name (board, network, layer, command) that does not exist."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """Return the error for ``name``, which lists the ``known`` names and the nearest of them.

        ``kind``: what the names name, such as ``board``.
        """
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else None
        return cls(f"unknown {kind} {name!r}", expected="one of " + ", ".join(names), fix=hint)


class DoesNotFit(PynqTrainError):
    """A network or a batch needs more of a resource than the board has."""

    exit_code = 3


class IllegalProgram(PynqTrainError):
    """A Program breaks a rule of the hardware contract and was refused before it ran."""

    exit_code = 4


class StaleOverlay(PynqTrainError):
    """The hardware's identity, ABI version or contract hash is not the one of this package."""

    exit_code = 5


class HardwareFault(PynqTrainError):
    """The engine stopped with an error status: AXI error, illegal descriptor, address refused.

    Attributes:
        state: what the registers said (``backends.EngineState``), None where there are none.
        engine_lost: the engine could not be brought back; the next run loads the overlay first.
    """

    exit_code = 6
    state: Any = None
    engine_lost = False


class Timeout(HardwareFault):
    """The engine did not finish, or its registers did not answer, within the time allowed."""


class Mismatch(PynqTrainError):
    """Two backends disagree on a bit."""

    exit_code = 7


class MissingTool(PynqTrainError):
    """A program or Python package that this action needs is not installed."""

    exit_code = 8


class BoardBusy(PynqTrainError):
    """Another process, or another learner of this one, uses the board."""

    exit_code = 9


class FleetError(PynqTrainError):
    """Something went wrong between the members of a fleet."""

    exit_code = 10


class BadMessage(FleetError):
    """A message of a fleet is malformed, damaged, too large, or is no answer to what was asked."""


class JoinRefused(FleetError):
    """A member or a coordinator is not let in: certificate, version or hardware contract."""

    exit_code = 11


class MemberLost(FleetError):
    """A member is dead, hung, or cut off; what it was asked for may have been done or not.

    Attributes:
        member: its name.
    """

    exit_code = 12

    def __init__(self, what: str, *, member: str = "", fix: str | None = None) -> None:
        super().__init__(what, fix=fix)
        self.member = member


class Overdue(MemberLost):
    """A member lives, but has not answered by the deadline."""


class NoMemberLeft(MemberLost):
    """A member is lost, and no other one can take its segment over."""


class MemberBusy(FleetError):
    """A member's queue is full, or as many questions are under way as one coordinator may have."""


class SessionEnded(FleetError):
    """Another coordinator has taken the member over; its segments are gone."""


class MemberFailed(FleetError):
    """A member has answered with an error of its own.

    Attributes:
        member: its name.
        kind: name of the error's class at the member, such as ``DoesNotFit``.
    """

    def __init__(self, what: str, *, member: str = "", kind: str = "") -> None:
        super().__init__(what)
        self.member = member
        self.kind = kind
