"""The campaign of splits: branches are trained as the accuracy campaign trains, and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from squares import squares

from benchmarks.accuracy import store, training
from benchmarks.accuracy import tasks as accuracy_tasks
from benchmarks.accuracy.__main__ import campaign
from benchmarks.accuracy.store import FIXED, FLOAT, SHARED, Run
from benchmarks.accuracy.tasks import DataSet, Recipe, Task, network
from benchmarks.split_accuracy.__main__ import (
    BEGIN,
    END,
    NET,
    PAGE,
    PLACES,
    WHOLE,
    printed,
    table,
    tasks,
    write_page,
)
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.graph.ops import Conv
from pynq_train.layers import init_params

RECIPE = Recipe("small_residual", "squares", 40, 1, 10, 0.05, float_epochs=2)
TASKS = {WHOLE: Task(RECIPE, 2, 2),
         "2-split-6": Task(replace(RECIPE, net="small_residual-2-split-b1.relu"), 2, 2)}


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accuracy_tasks.DATA_SETS, "squares", DataSet("squares", 30, squares))


def test_the_page_is_current(tmp_path: Path) -> None:
    page = tmp_path / "fleet.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(tasks(), path=page)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), (
        "docs/fleet.md differs: run python -m benchmarks.split_accuracy")


def test_branches_end_behind_the_kth_convolution() -> None:
    """All convolutions up to there but the first are grouped, no other one is."""
    assert len(tasks()) == 7 and network(tasks()[WHOLE].recipe.net).name == NET
    for k, after in PLACES.items():
        for ways in (2, 4):
            graph = network(tasks()[f"{ways}-split-{k}"].recipe.net)
            convs = [op for op in graph.ops if isinstance(op, Conv)]
            way = [op for op in convs if not op.name.endswith("skip")]
            assert [op.groups for op in way] == [1] + [ways] * (k - 1) + [1] * (len(way) - k), after
            assert {op.groups for op in convs} == {1, ways}


def test_the_papers_accuracies() -> None:
    found = [printed(name) for name in tasks()]
    assert found == [.915, .9099, .9083, .8886, .9132, .9061, .8578]


@pytest.mark.parametrize("name", ["small_residual-3-split-b1.relu", "resnet20-2-split-nowhere"])
def test_branches_that_cannot_be(name: str) -> None:
    with pytest.raises(BadInput, match=r"ways|unknown edge"):
        network(name)


def test_a_small_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in its second pair, it goes on with what is missing."""
    trained: list[str] = []

    def start(graph: Graph, recipe: Recipe, seed: int, *rest: Any) -> Any:
        trained.append(graph.name)
        return init_params(graph, seed), 0.25

    monkeypatch.setattr(training, "shared_training", start)
    wanted = {name: replace(task, pairs=1, most=1) for name, task in TASKS.items()}

    def run() -> dict[str, store.Results]:
        campaign(wanted, tmp_path, results=tmp_path / "results", work=tmp_path / "work")
        return {name: store.read(name, task.recipe, tmp_path / "results")
                for name, task in wanted.items()}

    real = training.Pair._float

    def stopped(self: training.Pair, *rest: Any) -> Run:
        if self.task != WHOLE:
            raise KeyboardInterrupt
        return real(self, *rest)

    with monkeypatch.context() as patch, pytest.raises(training.Interrupted):
        patch.setattr(training.Pair, "_float", stopped)
        run()
    assert {name: list(store.complete(own)) for name, own in run().items()} == {
        WHOLE: [0], "2-split-6": [0]}
    assert trained == ["small_residual", "small_residual-2-split-b1.relu"], "none twice"
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nstale\n{END}\nbehind\n")
    write_page(wanted, tmp_path / "results", page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nbehind\n") and "stale" not in text
    assert "| 2-split-6 | b1.relu | 1 of 1 | 25.00 |" in text
    page.write_text("no marks")
    with pytest.raises(BadInput, match=r"page.md: place of the splits' accuracies: expected one"):
        write_page(wanted, tmp_path, page)


def test_spread_bar_and_losses_follow_from_the_pairs() -> None:
    def pairs(*rows: tuple[float, float]) -> store.Results:
        return {seed: {FIXED: Run((fixed,)), FLOAT: Run((other,)), SHARED: Run((.6,), 1.0, "w")}
                for seed, (fixed, other) in enumerate(rows)}

    tables = {WHOLE: pairs((.70, .70), (.80, .804)), "2-split-6": pairs((.68, .69), (.76, .77))}
    lines = table({**TASKS, "4-split-9": TASKS[WHOLE]}, tables)
    assert any("| whole |  | 2 of 2 | 60.00 ± 0.00 | 75.00 ± 7.07 | 75.20 ± 7.35 | -0.20 ± 0.20, "
               "holds |  | 91.50 |" in line for line in lines)
    assert any("| 72.00 ± 5.66 | 73.00 ± 5.66 | -1.00 ± 0.00, BELOW THE BAR | -3.00 ± 1.41 | 90.99 "
               in line for line in lines)
    assert lines[-1] == "Not run yet: 4-split-9."
