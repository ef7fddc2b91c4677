"""A table of splits: one board, boards without a split, the best splits; what each figure is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.fleet.splits.criteria import accuracy_per_joule, relay_frames_per_joule
from pynq_train.fleet.splits.search import Searcher
from pynq_train.fleet.splits.split import Split

KINDS = {
    "cycles, memory_bytes, stage times": "predicted by the cycle model",
    "bytes that cross": "counted",
    "link times, latency, images a second": "estimated from the link and the host's time, as given",
    "energies, images per joule, lifetime": "estimated from the power, as given",
    "accuracy": "given",
}
"""What kind of figure each column has."""


@dataclass(frozen=True)
class Accuracies:
    """Accuracies that somebody has measured, 0 to 1; None where nobody has.

    Attributes:
        whole: of the network.
        split: of the network with branches.
    """

    whole: float | None = None
    split: float | None = None

    def __post_init__(self) -> None:
        """Raise :class:`BadInput` if one is out of range."""
        for name, value in (("accuracy", self.whole), ("accuracy with branches", self.split)):
            if value is not None and not 0 <= value <= 1:
                raise BadInput(name, expected="a part of 0 to 1", found=value)

    def of(self, split: Split) -> float | None:
        """Return the accuracy of a split's network."""
        return self.whole if split.stages[0].ways == 1 else self.split


@dataclass(frozen=True)
class Row:
    """A line of the table: a split, or why there is none."""

    label: str
    split: Split | None
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All that was found about splits of a network.

    Attributes:
        net: name of the network.
        searcher: boards and setting.
        objective: what is best.
        rows: one board first, then the splits.
        accuracies: those that are known.
        battery_j: joules of a board's battery, None if it has none.
    """

    net: str
    searcher: Searcher
    objective: str
    rows: tuple[Row, ...]
    accuracies: Accuracies = Accuracies()
    battery_j: float | None = None

    @property
    def whole(self) -> Split:
        """The network on one board."""
        found = self.rows[0].split
        assert found is not None
        return found

    @property
    def best(self) -> Split | None:
        """The best row by the objective that fits its boards; None if none does."""
        found = [row.split for row in self.rows if row.split is not None and not row.note]
        return min(found, key=lambda own: self.searcher.value(own, self.objective), default=None)

    def references(self) -> dict[str, float]:
        """Return images per joule of boards that do not share a network, by what they do.

        ``copies``: each runs the whole network on other images, all at once. ``relays``: one
        after the other, while the others wait.
        """
        count, power = len(self.searcher.boards), self.searcher.setting.power
        seconds = self.whole.stages[0].compute_s / self.whole.batch
        return {"copies": count * self.whole.criterion,
                "relays": relay_frames_per_joule(seconds, power, count)}

    def accuracy_per_joule(self, split: Split) -> float | None:
        """Return P of a split, None if its accuracy is not known."""
        accuracy = self.accuracies.of(split)
        return None if accuracy is None else accuracy_per_joule(
            accuracy, split.boards_s, self.searcher.setting.power)

    def text(self) -> str:
        """Return the table."""
        setting, boards = self.searcher.setting, self.searcher.boards
        kinds = sorted({f"{board.name} at {board.clock_mhz:g} MHz" for board in boards})
        link = setting.link.text() if setting.link else "none: links take no time"
        power = setting.power
        lines = [
            f"{self.net}, {self.whole.batch} image(s) a frame, forward passes, {len(boards)} "
            f"board(s): {', '.join(kinds)}",
            f"link {link}; host {1e3 * setting.host_s:g} ms per message (given)",
            f"power {power.compute_w:g} W computing, {power.handling_w:g} W handling a message, "
            f"{power.idle_w:g} W idle: an estimate ({power.source})", "",
            f"{'split':<30}{'boards':>6}{'images/s':>10}{'x one':>7}{'latency':>9}{'N/J':>8}"
            f"{'images/J':>9}{'mJ/device':>10}{'mJ/swarm':>9}{'P':>7}{'MB':>7}",
            f"{'':<36}{'estim.':>10}{'':>7}{'ms est.':>9}{'estim.':>8}{'estim.':>9}"
            f"{'estim.':>10}{'estim.':>9}{'':>7}{'pred.':>7}"]
        best = self.best
        for row in self.rows:
            lines += self._row(row, row.split is best and best is not None)
        if len(boards) > 1:
            lines.append(f"without a split, N/J of {len(boards)} boards (estimated): " + ", ".join(
                f"{name} {value:.3f}" for name, value in self.references().items()))
        lines.append(f"best for {self.objective}: "
                     + ("none fits its boards" if best is None else _named(best)))
        lines.append("N/J: Gacoin's criterion, links and hosts cost nothing; images/J: with them, "
                     "of the battery that is empty first")
        return "\n".join(lines)

    def _row(self, row: Row, best: bool) -> list[str]:
        """Return the lines of a row."""
        split = row.split
        if split is None:
            return [f"{row.label:<30}{'':>6}  {row.note}"]
        p = self.accuracy_per_joule(split)
        lines = [
            f"{row.label:<30}{split.boards:>6}{split.images_per_s:>10.1f}"
            f"{split.images_per_s / self.whole.images_per_s:>7.2f}{1e3 * split.latency_s:>9.3f}"
            f"{split.criterion:>8.1f}{split.images_per_joule:>9.1f}"
            f"{1e3 * max(split.device_j):>10.3f}{1e3 * split.swarm_j:>9.3f}"
            f"{'-' if p is None else format(p, '.2f'):>7}"
            f"{max(stage.memory_bytes for stage in split.stages) / 1e6:>7.2f}"
            + ("  <- best" if best else "") + (f"  {row.note}" if row.note else "")]
        for stage, joules in zip(split.stages, split.device_j):
            busy = 1e3 * self.searcher.setting.wire_busy_s(stage.in_bytes)
            wire = (f", {stage.in_bytes} bytes in ({busy:.3f} ms)" if stage.in_messages else "")
            ways = f"{stage.ways} x " if stage.ways > 1 else ""
            lines.append(f"  {ways}{stage.name}: {stage.cycles} cycles, "
                         f"{1e3 * stage.compute_s:.3f} ms{wire}, {1e3 * joules:.3f} mJ")
        if self.battery_j is not None:
            images, seconds = split.lifetime(self.battery_j)
            lines.append(f"  battery of {self.battery_j:g} J: {images:.0f} images in "
                         f"{seconds / 3600:.2f} h (estimated)")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        best = self.best
        rows = []
        for row in self.rows:
            values: dict[str, Any] = {"label": row.label, "note": row.note}
            if row.split is not None:
                values.update(row.split.to_dict(), best=row.split is best,
                              accuracy_per_joule=self.accuracy_per_joule(row.split))
                if self.battery_j is not None:
                    images, seconds = row.split.lifetime(self.battery_j)
                    values.update(lifetime_images=images, lifetime_s=seconds)
            rows.append(values)
        return {"net": self.net, "boards": [board.name for board in self.searcher.boards],
                "batch": self.whole.batch, "objective": self.objective,
                "setting": self.searcher.setting.to_dict(), "battery_j": self.battery_j,
                "kinds": KINDS, "references_per_joule": self.references(), "rows": rows}


def make_report(net: str, searcher: Searcher, *, ways: int = 1, after: tuple[str, ...] = (),
                objective: str = "lifetime", accuracies: Accuracies | None = None,
                battery_j: float | None = None) -> Report:
    """Search splits and return the report.

    Args:
        net: name of the network.
        searcher: knows layers, boards, setting.
        ways: branches of the first layers, beside vertical cuts; 1: none.
        after: cuts; empty: the best ones are searched.
        objective: what is best.
        accuracies: those that are known.
        battery_j: joules of a board's battery.

    Raises:
        UnknownName, BadInput, DoesNotFit: as :meth:`Searcher.at` and :meth:`Searcher.best`.
    """
    if battery_j is not None and not 0 < battery_j < float("inf"):
        raise BadInput("battery", expected="more than 0 joules", found=f"{battery_j:g}")
    count_of, segments = len(searcher.boards), len(searcher.costs().cuts) + 1
    most = min(count_of, segments)
    tried = [(count, 1) for count in range(2, most + 1)]
    if ways > 1:  # too few boards are refused, not left out
        last = min(count_of, ways - 1 + segments)
        tried += [(count, ways) for count in range(min(ways + 1, last), last + 1)]
    # What is wrong is said before anything is predicted.
    if after:
        searcher.places(after, ways)
        tried = []
    for count, own in tried:
        searcher.segments(count, objective, own)
    whole, room = searcher.whole(), searcher.boards[0].cma_bytes
    rows = [Row("whole on one board", whole, "" if whole.stages[0].memory_bytes <= room else
                f"(does not fit: {room / 1e6:.0f} MB)")]
    if after:
        split = searcher.at(after, ways)
        rows.append(Row(_label(split, ""), split))
    for count, own in tried:
        try:
            split = searcher.best(count, objective, own)
            rows.append(Row(_label(split, "best "), split))
        except DoesNotFit as error:
            label = f"{count} boards" + (f", {own} branches" if own > 1 else "")
            rows.append(Row(label, None, str(error)))
    if not after and most < count_of:
        rows.append(Row("more segments", None, f"the network has {most} at most"))
    return Report(net, searcher, objective, tuple(rows), accuracies or Accuracies(), battery_j)


def _label(split: Split, how: str) -> str:
    """Return what the row of a split is called."""
    return how + split.kind if split.boards > 1 else split.kind


def _named(split: Split) -> str:
    """Return a split in words, with its cuts."""
    after = f" after {', '.join(split.cut_names)}" if split.cut_names else ""
    return f"{split.kind}{after}"
