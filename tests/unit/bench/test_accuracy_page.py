"""``docs/accuracy.md`` and the README's table follow from stored pairs, by the stated rule."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.accuracy import page, store
from benchmarks.accuracy.__main__ import stored
from benchmarks.accuracy.store import FIXED, FLOAT, SHARED, Results, Run
from benchmarks.accuracy.tasks import TASKS, Recipe, Task
from pynq_train.errors import BadInput

RECIPE = Recipe("digits", "mnist", 60, 1, 10, 0.1)
TASK = Task(RECIPE, pairs=4, most=6)


def results(*differences: float, other: float = 90.0) -> Results:
    """Return pairs whose accuracies in the last epoch differ by so many points."""
    return {seed: {FIXED: Run((0.5, (other + points) / 100), 30.0), FLOAT: Run((0.4, other / 100))}
            for seed, points in enumerate(differences)}


def test_page_and_readme_are_current() -> None:
    tables = stored()
    assert page.page(tables) == page.PAGE.read_text(encoding="utf-8"), (
        "docs/accuracy.md differs: run python -m benchmarks.accuracy")
    readme = page.README.read_text(encoding="utf-8")
    assert page.in_readme(readme, tables) == readme, (
        "README.md differs: run python -m benchmarks.accuracy")


@pytest.mark.parametrize("path", sorted(store.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_stored_results_are_those_of_todays_recipes(path: Path) -> None:
    recipe = json.loads(path.read_text(encoding="utf-8"))["recipe"]
    assert recipe == asdict(TASKS[path.stem].recipe)
    for seed, pair in store.complete(stored()[path.stem]).items():
        for kind in store.ARITHMETICS:
            assert len(pair[kind].accuracy) == recipe["epochs"], (seed, kind)
        assert (SHARED in pair) == (recipe["float_epochs"] > 0), seed


def test_mean_and_standard_error_are_those_of_the_paired_differences() -> None:
    found = page.compare(results(-1.0, 0.0, 0.5, 0.1))
    assert found is not None
    # Mean -0.1; squares 0.81, 0.01, 0.36, 0.04: 1.22 / 3 is the variance.
    assert found.pairs == 4
    assert found.other == pytest.approx(90.0)
    assert found.fixed == pytest.approx(89.9)
    assert found.difference == pytest.approx(-0.1)
    assert found.error == pytest.approx(math.sqrt(1.22 / 3 / 4))
    assert found.text() == "-0.10 ± 0.32"
    assert found.needed == 5  # 1.22 / 3 / 0.09 = 4.5


def test_pairs_are_compared_not_means() -> None:
    """Seeds that differ by ten points say nothing against differences of a tenth."""
    pairs = {seed: results(0.1 * (seed % 2), other=60.0 + 10 * seed)[0] for seed in range(4)}
    found = page.compare(pairs)
    assert found is not None
    assert found.error == pytest.approx(0.1 / math.sqrt(12))


def test_a_pair_under_way_does_not_count() -> None:
    pairs = results(0.0, 1.0)
    del pairs[1][FLOAT]
    found = page.compare(pairs)
    assert found is not None
    assert (found.pairs, found.difference) == (1, 0.0)
    assert math.isinf(found.error)
    assert found.text() == "+0.00, one pair"
    del pairs[0][FIXED]
    assert page.compare(pairs) is None


@pytest.mark.parametrize(("differences", "said"), [
    ((0.1, 0.2, -0.1, 0.0), "holds"),
    ((0.1, 0.2, -0.1), "3 of 4 pairs so far"),
    ((-2.0, -2.1, -1.9), "3 of 4 pairs so far"),
    ((-0.2, -0.21, -0.19, -0.2), page.LOSS),
    ((-0.7, -0.71, -0.69, -0.7), page.BELOW),
    ((-0.7, 0.2, -0.9, 0.1), "holds"),  # -0.325 +- 0.277
    ((2.0, -2.0, 1.0, -1.0), "too wide a spread"),
    ((2.0, 1.9, 2.1, 2.0), "holds"),
])
def test_the_verdict_is_the_rule(differences: tuple[float, ...], said: str) -> None:
    found = page.compare(results(*differences))
    assert found is not None
    assert page.verdict(found, TASK) == said


@pytest.mark.parametrize(("differences", "more"), [
    ((), True), ((0.0, 0.0, 0.0), True), ((0.0, 0.1, 0.0, 0.1), False),
    ((2.0, -2.0, 1.0, -1.0), True), ((2.0, -2.0, 1.0, -1.0, 2.0, -2.0), False)])
def test_pairs_are_added_until_the_standard_error_is_small(differences: tuple[float, ...],
                                                           more: bool) -> None:
    assert page.wanted(results(*differences), TASK) is more


def test_cpu_time_is_that_of_the_pairs_that_were_timed_throughout() -> None:
    pairs = results(0.0, 0.0)
    assert page.cpu_minutes(pairs) is None
    pairs[1][FLOAT] = replace(pairs[1][FLOAT], cpu_seconds=90.0)
    assert page.cpu_minutes(pairs) == (2.0, 1)


def test_a_readme_without_its_marks_is_left_alone() -> None:
    for text in ("", page.BEGIN, page.END, f"{page.END}{page.BEGIN}",
                 f"{page.BEGIN}{page.BEGIN}{page.END}", f"{page.BEGIN}{page.END}{page.END}"):
        with pytest.raises(BadInput, match=r"README.*expected one line .*put them back"):
            page.in_readme(text, {})


def test_results_are_stored_run_by_run(tmp_path: Path) -> None:
    assert store.read("task", RECIPE, tmp_path) == {}
    fixed, other = Run((0.25, 0.5), 12.5), Run((0.125,))
    store.add("task", RECIPE, 3, FIXED, fixed, tmp_path)
    store.add("task", RECIPE, 1, FLOAT, other, tmp_path)
    assert store.read("task", RECIPE, tmp_path) == {3: {FIXED: fixed}, 1: {FLOAT: other}}
    assert store.complete(store.read("task", RECIPE, tmp_path)) == {}
    assert store.read("task", replace(RECIPE, lr=0.2), tmp_path) == {}, "another recipe"


def test_other_shared_weights_end_what_began_with_them(tmp_path: Path) -> None:
    first, again = Run((0.5,), 1.0, "aa"), Run((0.5,), 2.0, "bb")
    store.add("task", RECIPE, 0, SHARED, first, tmp_path)
    store.add("task", RECIPE, 0, FIXED, Run((0.5,)), tmp_path)
    store.add("task", RECIPE, 0, SHARED, first, tmp_path)
    assert set(store.read("task", RECIPE, tmp_path)[0]) == {SHARED, FIXED}
    store.add("task", RECIPE, 0, SHARED, again, tmp_path)
    assert store.read("task", RECIPE, tmp_path) == {0: {SHARED: again}}
