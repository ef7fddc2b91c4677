"""A split of a network over boards and what follows from it: times, energies, lifetime.

In the steady state each board has a frame, the mini-batch of a message, of its own: a period is as
long as the busiest board or port needs. A board computes, or its processor handles a message, or
it waits; links work beside that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.fleet.link import Link
from pynq_train.fleet.power import GACOIN, Power
from pynq_train.fleet.splits.criteria import frames_per_joule


@dataclass(frozen=True)
class Setting:
    """What boards have around them.

    Attributes:
        link: between two boards; None: no time is taken by links.
        power: watts of a board.
        host_s: seconds that the processor of a board handles a message, sent or taken.
    """

    link: Link | None = None
    power: Power = GACOIN
    host_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the host's time.

        Raises:
            BadInput: it is below 0 or no number.
        """
        if not 0 <= self.host_s < float("inf"):
            raise BadInput("host time per message", expected="0 seconds or more",
                           found=f"{self.host_s:g}")

    def wire_busy_s(self, nbytes: int) -> float:
        """Return the seconds in which a frame keeps the busier port of a cut."""
        return self.link.busy_s(nbytes) if self.link else 0.0

    def wire_s(self, nbytes: int) -> float:
        """Return the seconds that a frame is on its way."""
        return self.link.seconds(nbytes) if self.link else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"link": self.link.to_dict() if self.link else None, "power": self.power.to_dict(),
                "host_s_per_message": self.host_s}


@dataclass(frozen=True)
class Stage:
    """A segment on one board, or its branches on several.

    Attributes:
        first: position of the first layer.
        end: position behind the last layer.
        name: names of the first and the last layer.
        board: name of the kind of board.
        ways: boards, each with a branch; 1 without branches.
        cycles: predicted cycles of a board per frame.
        compute_s: the same in seconds.
        in_bytes: bytes per frame that come from the stage before; 0 for the first one.
        in_messages: messages per frame that bring them.
        out_messages: messages per frame that a board sends: 1, or 0 for the last stage.
        memory_bytes: bytes of a board's contiguous memory.
    """

    first: int
    end: int
    name: str
    board: str
    ways: int
    cycles: int
    compute_s: float
    in_bytes: int
    in_messages: int
    out_messages: int
    memory_bytes: int

    def host_s(self, setting: Setting) -> float:
        """Return the seconds per frame in which a board's processor handles messages."""
        return setting.host_s * (self.in_messages + self.out_messages)

    def active_j(self, setting: Setting) -> float:
        """Return the joules per frame of a board above those of idleness."""
        power = setting.power
        return ((power.compute_w - power.idle_w) * self.compute_s
                + (power.handling_w - power.idle_w) * self.host_s(setting))


@dataclass(frozen=True)
class Split:
    """A network on boards.

    Attributes:
        stages: the pipeline, in order.
        setting: links, power, host.
        batch: images of a frame.
    """

    stages: tuple[Stage, ...]
    setting: Setting
    batch: int = 1

    @property
    def boards(self) -> int:
        """Number of boards."""
        return sum(stage.ways for stage in self.stages)

    @property
    def kind(self) -> str:
        """What is cut how, in words."""
        first, count = self.stages[0], len(self.stages)
        if first.ways > 1:
            return f"{first.ways} branches, {count - 1} behind them"
        return "whole" if count == 1 else f"{count} segments"

    @property
    def cut_names(self) -> tuple[str, ...]:
        """Names of the layers behind which the network is cut."""
        return tuple(stage.name.split(" .. ")[-1] for stage in self.stages[:-1])

    @property
    def link_s(self) -> tuple[float, ...]:
        """Seconds per frame in which the busier port of each cut works."""
        return tuple(self.setting.wire_busy_s(stage.in_bytes) for stage in self.stages[1:])

    @cached_property
    def period_s(self) -> float:
        """Seconds from one frame to the next: those of the busiest board or port."""
        busy = [stage.compute_s + stage.host_s(self.setting) for stage in self.stages]
        return max(*busy, *self.link_s, 0.0)

    @property
    def latency_s(self) -> float:
        """Seconds that a frame takes from the first board to the end, if it never has to wait."""
        own = sum(stage.compute_s + stage.host_s(self.setting) for stage in self.stages)
        return own + sum(self.setting.wire_s(stage.in_bytes) for stage in self.stages[1:])

    @property
    def images_per_s(self) -> float:
        """Images a second in the steady state."""
        return self.batch / self.period_s

    @property
    def device_j(self) -> tuple[float, ...]:
        """Joules per image of a board of each stage."""
        return tuple(self.setting.power.energy(stage.compute_s, stage.host_s(self.setting),
                                               self.period_s) / self.batch
                     for stage in self.stages)

    @property
    def swarm_j(self) -> float:
        """Joules per image of all boards together."""
        return sum(stage.ways * own for stage, own in zip(self.stages, self.device_j))

    @property
    def criterion(self) -> float:
        """Gacoin's N / E, images per joule: links and hosts cost nothing."""
        return self.batch * frames_per_joule([stage.compute_s for stage in self.stages],
                                             self.setting.power)

    @property
    def images_per_joule(self) -> float:
        """The same with links, hosts and idleness: of the battery that is empty first."""
        return 1 / max(self.device_j)

    @property
    def boards_s(self) -> tuple[float, ...]:
        """Seconds per image that each board computes."""
        return tuple(stage.compute_s / self.batch for stage in self.stages
                     for _ in range(stage.ways))

    def lifetime(self, battery_j: float) -> tuple[float, float]:
        """Return images and seconds until the first battery is empty.

        Args:
            battery_j: joules of the battery of each board.
        """
        images = battery_j * self.images_per_joule
        return images, images / self.images_per_s

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; ``kinds`` says what each figure is."""
        return {
            "kind": self.kind, "boards": self.boards, "after": list(self.cut_names),
            "period_s": self.period_s, "latency_s": self.latency_s,
            "images_per_s": self.images_per_s, "link_s": list(self.link_s),
            "n_per_joule": self.criterion, "images_per_joule": self.images_per_joule,
            "device_j": list(self.device_j), "swarm_j": self.swarm_j,
            "stages": [{**vars(stage), "host_s": stage.host_s(self.setting)}
                       for stage in self.stages]}
