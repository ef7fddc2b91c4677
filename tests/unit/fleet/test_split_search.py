"""The search of splits against all of them; figures of a split; what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from pynq_train.errors import BadInput, DoesNotFit, UnknownName
from pynq_train.fleet.link import Link
from pynq_train.fleet.power import Power
from pynq_train.fleet.splits.costs import SegmentCosts
from pynq_train.fleet.splits.criteria import relay_frames_per_joule
from pynq_train.fleet.splits.cuts import edge_names
from pynq_train.fleet.splits.report import Accuracies, make_report
from pynq_train.fleet.splits.search import OBJECTIVES, Searcher
from pynq_train.fleet.splits.split import Setting, Split
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.layers import fuse

BOARD = BOARDS["pynq-z2"]
LENET = zoo.get("lenet5")
SETTINGS = (Setting(), Setting(Link.parse("100mbit,0.2ms"), Power(4.0, 1.0, 2.0), 1e-4),
            Setting(Link.parse("5mbit"), Power(3.0, 2.9)))


def searcher(setting: Setting = SETTINGS[1], boards: int = 3, board: Board = BOARD,
             batch: int = 1) -> Searcher:
    own = Searcher(LENET, [board] * boards, setting, batch)
    if board is BOARD and batch == 1:
        # Cycles are predicted once for all tests: what is known beforehand changes no result.
        own._costs[BOARD.name] = known_costs()
    return own


@cache
def known_costs() -> SegmentCosts:
    return SegmentCosts(fuse(LENET), 1, BOARD, edge_names(LENET))


def all_splits(own: Searcher, boards: int, ways: int) -> list[Split]:
    """Every split over some boards, each made by name."""
    names = [cut.name for cut in own.costs().cuts]
    cuts = boards - 1 if ways == 1 else boards - ways
    return [own.at(chosen, ways) for chosen in combinations(names, cuts)]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("setting", SETTINGS, ids=["no link", "fast", "slow"])
def test_the_best_split_is_the_best_of_all(setting: Setting, objective: str) -> None:
    for boards, ways in ((1, 1), (2, 1), (3, 1), (3, 2)):
        own = searcher(setting)
        best = own.best(boards, objective, ways)
        values = [own.value(split, objective) for split in all_splits(searcher(setting), boards,
                                                                      ways)]
        assert own.value(best, objective) == pytest.approx(min(values), rel=1e-12)
        assert best.boards == boards and len(values) >= 1


@pytest.mark.parametrize("seed", range(6))
def test_the_best_split_with_any_cycles(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cycles drawn at random, with bounds anywhere below them: exact cycles decide."""
    rng = np.random.RandomState(seed)
    drawn: dict[tuple[int, ...], tuple[int, int]] = {}
    asked: set[tuple[int, ...]] = set()

    def both(costs: SegmentCosts, *span: int) -> tuple[int, int]:
        cycles = int(rng.randint(1000, 100000))
        return drawn.setdefault((costs.end, *span), (cycles, int(rng.randint(1, cycles + 1))))

    def cycles(costs: SegmentCosts, *span: int) -> int:
        asked.add((costs.end, *span))
        return both(costs, *span)[0]

    monkeypatch.setattr(SegmentCosts, "cycles", cycles)
    monkeypatch.setattr(SegmentCosts, "known", lambda self, *span: (self.end, *span) in asked)
    monkeypatch.setattr(SegmentCosts, "bound", lambda self, *span: both(self, *span)[
        0 if (self.end, *span) in asked else 1])
    setting = SETTINGS[1 + seed % 2]
    for objective in OBJECTIVES:
        for boards, ways in ((2, 1), (3, 1), (4, 1), (3, 2), (4, 2)):
            asked.clear()
            own = searcher(setting, 4, replace(BOARD, name="drawn"))
            best = own.value(own.best(boards, objective, ways), objective)
            values = [own.value(split, objective) for split in all_splits(own, boards, ways)]
            assert best == pytest.approx(min(values), rel=1e-12)


@pytest.mark.medium
def test_few_segments_are_predicted() -> None:
    asked: list[str] = []
    own = Searcher(zoo.get("ds_cnn_s"), [BOARD] * 3, SETTINGS[0], 1, asked.append)
    own.best(3)
    count = len(own.costs().cuts) + 2
    assert 3 <= len(asked) < count * (count - 1) // 20


def test_figures_of_a_split() -> None:
    setting = Setting(Link(1e6, 0.5e-3), Power(4.0, 1.0, 2.0), 1e-4)
    own = searcher(setting, batch=2)
    names = [cut.name for cut in own.costs().cuts]
    split = own.at([names[1], names[3]])
    compute = [stage.cycles / 100e6 for stage in split.stages]
    sizes = [own.costs().cuts[1].nbytes, own.costs().cuts[3].nbytes]
    host = [1e-4, 2e-4, 1e-4]
    assert [stage.compute_s for stage in split.stages] == pytest.approx(compute)
    period = max(*(c + h for c, h in zip(compute, host)), *(size / 1e6 for size in sizes))
    assert split.period_s == pytest.approx(period)
    assert split.images_per_s == pytest.approx(2 / period)
    assert split.latency_s == pytest.approx(sum(compute) + sum(host) + 1e-3 + sum(sizes) / 1e6)
    joules = [(4 * c + 2 * h + (period - c - h)) / 2 for c, h in zip(compute, host)]
    assert split.device_j == pytest.approx(joules)
    assert split.swarm_j == pytest.approx(sum(joules))
    assert split.criterion == pytest.approx(2 / (4 * max(compute)))
    images, seconds = split.lifetime(100.0)
    assert images == pytest.approx(100 / max(joules))
    assert seconds == pytest.approx(images * period / 2)


def test_figures_of_branches() -> None:
    setting = Setting(Link(1e6), Power(4.0, 1.0), 1e-4)
    own = searcher(setting)
    name = own.costs().cuts[2].name
    split = own.at([name], ways=2)
    branch, tail = split.stages
    assert (split.boards, branch.ways, tail.in_messages) == (3, 2, 2)
    assert tail.in_bytes == own.costs().cuts[2].nbytes  # all branches through one port
    assert tail.host_s(setting) == pytest.approx(2e-4)
    assert branch.cycles == own.costs().branch(2).cycles(0, own.costs().cuts[2].position)
    assert tail.cycles == own.at([name]).stages[1].cycles
    assert split.swarm_j == pytest.approx(2 * split.device_j[0] + split.device_j[1])
    assert split.boards_s == pytest.approx([branch.compute_s] * 2 + [tail.compute_s])


def test_a_slow_link_makes_one_board_best() -> None:
    report = make_report("lenet5", searcher(Setting(Link.parse("1mbit"))), objective="throughput")
    assert report.best is report.whole
    fast = make_report("lenet5", searcher(Setting()), objective="throughput")
    assert fast.best is not None and fast.best.boards == 3


@pytest.mark.medium
def test_known_figures_of_resnet20() -> None:
    """A cut of ResNet-20 in four, counted by hand before: 3.46 times one board, 1.10 on 11 MB/s."""
    own = Searcher(zoo.get("resnet20"), [BOARD] * 4, Setting())
    split = own.at(["a1", "b0", "b2"])
    assert [round(1e3 * stage.compute_s, 2) for stage in split.stages] == [0.94, 0.73, 0.69, 0.93]
    assert own.whole().period_s / split.period_s == pytest.approx(3.46, abs=0.03)
    for text, gain in (("11MB/s", 1.10), ("2.5MB/s", 0.25)):
        slow = Split(split.stages, Setting(Link.parse(text)))
        assert own.whole().period_s / slow.period_s == pytest.approx(gain, abs=0.005)


def test_boards_of_several_kinds() -> None:
    """The faster board gets more layers."""
    boards = [BOARD, replace(BOARD, name="twice", clock_mhz=2 * BOARD.clock_mhz)]
    own = Searcher(LENET, boards, Setting())
    split, same = own.best(2), searcher(Setting(), 2).best(2)
    assert [stage.board for stage in split.stages] == ["pynq-z2", "twice"]
    assert split.stages[1].end - split.stages[1].first >= same.stages[1].end - same.stages[1].first
    assert split.stages[1].compute_s == pytest.approx(split.stages[1].cycles / 200e6)
    with pytest.raises(BadInput, match="2 branches: expected boards of one kind, found pynq-z2, "
                                       "twice"):
        own.best(2, ways=2)


def test_memory_limits_decide() -> None:
    own = searcher(Setting())
    free = own.best(2)
    room = max(stage.memory_bytes for stage in free.stages) - 1
    tight = searcher(Setting(), board=replace(BOARD, cma_bytes=room))
    split = tight.best(2)
    assert max(stage.memory_bytes for stage in split.stages) <= room
    assert split.period_s > free.period_s
    with pytest.raises(DoesNotFit, match=r"memory of pynq-z2 for the layers "):
        tight.at(free.cut_names)
    none = searcher(Setting(), board=replace(BOARD, cma_bytes=5000))
    with pytest.raises(DoesNotFit, match="no split into 2 segments fits"):
        none.best(2)
    report = make_report("lenet5", none)
    assert report.best is None and "no split" in report.rows[1].note
    assert "none fits its boards" in report.text()


@pytest.mark.parametrize(("call", "kind", "words"), [
    (lambda s: s.at(["none"]), UnknownName,
     "unknown edge 'none': expected one of flatten1, pool1, "),
    (lambda s: s.at(["pool1", "pool2", "relu3"]), BadInput,
     "segments and branches: expected 1 to 3, as there are boards, found 4"),
    (lambda s: s.at(["pool1", "pool1"]), BadInput, "expected each cut once"),
    (lambda s: s.at(["conv1"]), BadInput, "cut after 'pool1'"),
    (lambda s: s.at([], 2), BadInput, "expected a cut at which they end"),
    (lambda s: s.at(["pool1"], 3), BadInput, "expected 1 to 3, as there are boards, found 4"),
    (lambda s: s.best(4), BadInput, "expected 1 to 3, as there are boards, found 4"),
    (lambda s: s.best(2, ways=2), BadInput, "2 branches: expected 3 boards or more"),
    (lambda s: s.best(3, "speed"), UnknownName, "unknown objective 'speed'"),
    (lambda s: s.best(3, ways=0), BadInput, "ways: expected an integer of 1 or more, found 0"),
    (lambda s: Searcher(LENET, [BOARD] * 9, Setting()).best(9), BadInput,
     "expected at most 5 segments, as the network has, found 9"),
    (lambda s: Searcher(LENET, [BOARD] * 6, Setting()).best(6, ways=5), BadInput,
     "ways: layer 'conv1': expected a divisor of 6 channels, found 5"),
    (lambda s: Searcher(LENET, [], Setting()), BadInput, "expected one or more, found none"),
    (lambda s: Setting(host_s=-1.0), BadInput, "host time per message: expected 0 seconds or more"),
    (lambda s: Accuracies(1.5), BadInput, "expected a part of 0 to 1, found 1.5"),
    (lambda s: make_report("lenet5", s, battery_j=0.0), BadInput, "battery: expected more than 0"),
])
def test_refusals(call: object, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        call(searcher())  # type: ignore[operator]


def test_branches_end_where_one_map_crosses() -> None:
    own = Searcher(zoo.get("resnet20"), [BOARD] * 3, Setting())
    with pytest.raises(BadInput, match=r"branches that end behind 'a1.conv1': expected a cut that "
                                       r"one map crosses, .*, found 2 maps: a0.conv2.bn, a1.conv1"):
        own.at(["a1.conv1"], 2)


def test_the_report_has_each_figure() -> None:
    own = searcher()
    report = make_report("lenet5", own, ways=2, accuracies=Accuracies(0.9, 0.8), battery_j=3600.0)
    assert [row.split.boards for row in report.rows if row.split] == [1, 2, 3, 3]
    values = report.to_dict()
    assert [row["best"] for row in values["rows"]].count(True) == 1
    whole = report.whole
    assert values["rows"][0]["accuracy_per_joule"] == pytest.approx(
        0.9 / (4.0 * whole.stages[0].compute_s))
    split = report.rows[-1].split
    assert split is not None and split.stages[0].ways == 2
    assert values["rows"][-1]["accuracy_per_joule"] == pytest.approx(
        0.8 / (4.0 * sum(split.boards_s)))
    assert values["references_per_joule"] == {
        "copies": pytest.approx(3 * whole.criterion),
        "relays": pytest.approx(relay_frames_per_joule(whole.stages[0].compute_s,
                                                       own.setting.power, 3))}
    text = report.text()
    for words in ("an estimate (given)", "100 Mbit/s, 0.2 ms latency (given)", "<- best",
                  f"{split.stages[0].cycles} cycles", "0.1 ms per message", "battery of 3600 J"):
        assert words in text


def test_more_boards_than_segments() -> None:
    report = make_report("lenet5", searcher(Setting(), 7), objective="throughput")
    assert [row.split.boards for row in report.rows if row.split] == [1, 2, 3, 4, 5]
    assert report.rows[-1].note == "the network has 5 at most"
