"""What is simulated, or slept through: a pipeline of boards, its queues, frames and failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.fleet.power import Power
from pynq_train.fleet.splits.split import Split

QUEUE = 2
"""Messages that may be on their way to a board, or wait there, on one connection."""


@dataclass(frozen=True)
class SimStage:
    """A stage: one board, or several side by side that each send a part of the frame.

    Attributes:
        name: for tables.
        compute_s: seconds of a board's engine per frame.
        ways: boards.
        wire_s: seconds in which the parts of a frame, together, keep the port that takes them; 0
            for the first stage.
        latency_s: seconds that a message takes beside that.
    """

    name: str
    compute_s: float
    ways: int = 1
    wire_s: float = 0.0
    latency_s: float = 0.0


@dataclass(frozen=True)
class Pipeline:
    """A pipeline of stages; each stage but the last is read by one board.

    Attributes:
        stages: the stages in order.
        host_s: seconds of a board's processor for a message, sent or taken.
        power: watts of a board.
        queue: see :data:`QUEUE`.
        batch: images of a frame.
    """

    stages: tuple[SimStage, ...]
    power: Power
    host_s: float = 0.0
    queue: int = QUEUE
    batch: int = 1

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            BadInput: there is no stage, one takes no time at all, a time is below 0, or a stage of
                several boards has none behind it that is one board.
        """
        if not self.stages:
            raise BadInput("pipeline", expected="one stage or more", found="none")
        _at_least("host time per message", self.host_s, 0.0)
        _count("queue", self.queue)
        for stage in self.stages:
            _count(f"stage {stage.name!r}: boards", stage.ways)
            for what, value in (("seconds", stage.compute_s), ("link", stage.wire_s),
                                ("latency", stage.latency_s)):
                _at_least(f"stage {stage.name!r}: {what}", value, 0.0)
        if not any(stage.compute_s > 0 for stage in self.stages):
            raise BadInput("pipeline", expected="a stage that takes time", found="none")
        if any(stage.ways > 1 for stage in self.stages[1:]) or (
                self.stages[0].ways > 1 and len(self.stages) == 1):
            raise BadInput("pipeline", expected="branches in the first stage alone, and a stage "
                           "behind them", found=[stage.ways for stage in self.stages])

    @classmethod
    def of(cls, split: Split, queue: int = QUEUE) -> Pipeline:
        """Return the pipeline of a split.

        Args:
            split: the split.
            queue: messages on each connection.
        """
        setting = split.setting
        latency = setting.link.latency_s if setting.link else 0.0
        stages = tuple(SimStage(
            stage.name, stage.compute_s, stage.ways,
            setting.wire_busy_s(stage.in_bytes) if stage.in_messages else 0.0,
            latency if stage.in_messages else 0.0) for stage in split.stages)
        return cls(stages, setting.power, setting.host_s, queue, split.batch)

    @property
    def boards(self) -> int:
        """Number of boards."""
        return sum(stage.ways for stage in self.stages)

    def messages(self, at: int) -> tuple[int, int]:
        """Return the messages per frame that a board of a stage takes and sends."""
        return (self.stages[at - 1].ways if at else 0, int(at < len(self.stages) - 1))


@dataclass(frozen=True)
class Failures:
    """How boards fail: each after a time of its own, drawn with an exponential distribution.

    Attributes:
        mean_s: mean seconds of a board until it fails.
        notice_s: seconds until the others notice.
        repair_s: seconds from then until the pipeline runs again; its frames are lost.
        seed: names what is drawn.
    """

    mean_s: float
    notice_s: float = 2.0
    repair_s: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`BadInput` if a time is out of range."""
        if not (self.mean_s > 0 and math.isfinite(self.mean_s)):
            raise BadInput("mean time between failures", expected="more than 0 seconds",
                           found=f"{self.mean_s:g}")
        _at_least("time until a failure is noticed", self.notice_s, 0.0)
        _at_least("time of a repair", self.repair_s, 0.0)


@dataclass(frozen=True)
class Result:
    """What a run has shown, simulated or slept.

    Attributes:
        kind: ``simulated`` or ``measured``.
        boards: number of boards.
        images: images that came to the end.
        lost: images that were lost in failures.
        seconds: seconds of the run.
        images_per_s: images a second, all pipelines together: from the end of the first frame of
            each to the end of the run; the mean over all of it where there are failures.
        latencies_s: seconds of each frame from its beginning to its end.
        stage_j: joules of a board of each stage, mean of all pipelines; empty: not known.
        failures: how many there were.
        empty_s: seconds until the first battery was empty, None if none was.
    """

    kind: str
    boards: int
    images: int
    lost: int
    seconds: float
    images_per_s: float
    latencies_s: tuple[float, ...]
    stage_j: tuple[float, ...] = ()
    failures: int = 0
    empty_s: float | None = None

    def latency(self, part: float) -> float:
        """Return the latency that a part of the frames, 0 to 1, does not exceed, in seconds."""
        ordered = sorted(self.latencies_s)
        if not ordered:
            return math.nan
        return ordered[min(max(math.ceil(part * len(ordered)) - 1, 0), len(ordered) - 1)]

    def text(self) -> str:
        """Return the result as lines of text."""
        lines = [f"{self.kind}: {self.boards} boards, {self.images} images in {self.seconds:.3f} s,"
                 f" {self.images_per_s:.1f} images/s, latency {1e3 * self.latency(0.5):.3f} ms "
                 f"(95 %: {1e3 * self.latency(0.95):.3f} ms)"]
        if self.stage_j and self.images:
            each = ", ".join(f"{joules:.3f}" for joules in self.stage_j)
            lines.append(f"energy of a board of each stage (estimated): {each} J")
        if self.failures:
            lines.append(f"{self.failures} failures, {self.lost} images lost")
        if self.empty_s is not None:
            lines.append(f"first battery empty after {self.empty_s:.1f} s")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"kind": self.kind, "boards": self.boards, "images": self.images,
                "lost": self.lost, "seconds": self.seconds, "images_per_s": self.images_per_s,
                "latency_s": {"median": self.latency(0.5), "p95": self.latency(0.95),
                              "most": self.latency(1.0)} if self.latencies_s else None,
                "stage_j": list(self.stage_j), "failures": self.failures,
                "empty_s": self.empty_s}


def steady_rate(ends: Sequence[float], frames: float) -> float:
    """Return frames a second from the first end of a frame to the last.

    Args:
        ends: when frames ended, in order.
        frames: that each end stands for.
    """
    if len(ends) < 2 or ends[-1] <= ends[0]:
        return math.nan
    return frames * (len(ends) - 1) / (ends[-1] - ends[0])


def _at_least(what: str, value: float, least: float) -> None:
    """Raise :class:`BadInput` if a value is below ``least`` or no number."""
    if not (value >= least and math.isfinite(value)):
        raise BadInput(what, expected=f"{least:g} seconds or more", found=f"{value:g}")


def _count(what: str, value: int) -> None:
    """Raise :class:`BadInput` if a value is no integer of 1 or more."""
    if type(value) is not int or value < 1:
        raise BadInput(what, expected="an integer of 1 or more", found=repr(value))
