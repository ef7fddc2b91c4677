"""The campaign of rungs: what is held apart, what is stored and run again, what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from benchmarks.adaptation import __main__ as command
from benchmarks.adaptation import page, runs, store, tasks
from benchmarks.adaptation.tasks import DIGITS, NAMES, SEEDS, SPEAKERS, Base, Case, Samples
from pynq_train.adaptation import LADDER
from pynq_train.adaptation.study import RATE, RATES
from pynq_train.errors import BadInput
from pynq_train.layers import init_params
from pynq_train.shifts import SHIFTS


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files like the real ones: 3,000 recordings, few digits; a pixel names each sample."""
    user, y, index = (a.ravel() for a in np.indices((6, 10, 50)))
    np.savez(tmp_path / "fsdd_logmel.npz", x=_numbered(len(y), 32), y=y, user=user, index=index)
    train, test = _numbered(900, 28), _numbered(240, 28)
    np.savez(tmp_path / "mnist.npz", x_train=train, y_train=np.arange(900) % 10,
             x_test=test, y_test=np.arange(240) % 10)
    for name, value in {"_RESERVED": 400, "_FOR_RATES": 800, "MINE": 20, "TESTED": 80,
                        "VALIDATED": 30}.items():
        monkeypatch.setattr(tasks, name, value)
    monkeypatch.setattr(tasks, "BASES", {SPEAKERS: Base(1, 50, 0.1, 2500),
                                         DIGITS: Base(1, 50, 0.1, 100)})
    return tmp_path


def _numbered(count: int, size: int) -> np.ndarray:
    x = np.zeros((count, size, size), np.uint8)
    x[:, 10, 10], x[:, 20, 20] = np.arange(count) // 256, np.arange(count) % 256
    return x


def numbers(samples: Samples, shift: int = 0) -> set[int]:
    """Numbers of unshifted samples; ``shift``: of the border that images have got."""
    x = samples[0].reshape(len(samples[0]), 32, 32).astype(int)
    return set((256 * x[:, 10 + shift, 10 + shift] + x[:, 20 + shift, 20 + shift]).tolist())


def speaker(number: int) -> tuple[int, int]:
    """Speaker and recording of a number."""
    return number // 500, number % 50


def test_a_speaker_is_held_out_and_no_recording_has_two_parts(data: Path) -> None:
    every = list(tasks.cases(SPEAKERS, data))
    assert [(case.place, case.seed) for case in every] == [
        (name, seed) for seed in SEEDS for name in NAMES]
    for case in every:
        own = NAMES.index(case.place)
        train, mine, test = (numbers(part) for part in (case.train, case.mine, case.test))
        assert len(train) == 2500 and own not in {speaker(one)[0] for one in train}
        assert {speaker(one)[0] for one in mine | test} == {own}
        assert len(mine) == 50 and len(test) == 350 and not mine & test
        assert max(speaker(one)[1] for one in mine | test) == tasks.LAST - 1
        assert np.bincount(case.mine[1]).tolist() == [5] * 10
    drawn = [numbers(case.mine) for case in every if case.place == "theo"]
    assert drawn[0] != drawn[1] != drawn[2]
    assert len({case.base for case in every}) == 18


def test_what_chooses_rates_is_reported_nowhere(data: Path) -> None:
    for case in tasks.rate_cases(SPEAKERS, data):
        mine, test = numbers(case.mine), numbers(case.test)
        assert len(mine) == len(test) == 50 and not mine & test and case.seed not in SEEDS
        assert min(speaker(one)[1] for one in mine | test) == tasks.LAST
    found = [case for case in tasks.rate_cases(DIGITS, data) if case.place == "pen"]
    assert len(found) == 1 and found[0].seed not in SEEDS


def test_digits_are_apart(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "shifted", lambda x, shift, seed: x)
    every = list(tasks.cases(DIGITS, data))
    assert [case.place for case in every] == [*SHIFTS] * 3
    base = numbers(every[0].train, 2)
    mine = [numbers(case.mine, 2) for case in every[::4]]
    tests = [numbers(case.test, 2) for case in every[::4]]
    rate = next(tasks.rate_cases(DIGITS, data))
    mine.append(numbers(rate.mine, 2) | numbers(rate.test, 2))
    assert [len(one) for one in mine] == [20, 20, 20, 50] and len(base) == 100
    assert len(set().union(*mine)) == 110 and not base & set().union(*mine)
    assert [len(one) for one in tests] == [80] * 3 and len(set().union(*tests)) == 240


def test_every_shift_is_another_copy(data: Path) -> None:
    cases = list(tasks.cases(DIGITS, data, (0,)))
    assert len({case.mine[0].tobytes() for case in cases}) == len(SHIFTS)
    assert len({case.base for case in cases}) == 1


def case(seed: int = 0) -> Case:
    """A tiny case: ten images, which are also the test."""
    rng = np.random.RandomState(seed)
    samples = rng.randint(0, 256, (20, 32, 32)).astype(np.uint8), np.arange(20) % 10
    return Case(SPEAKERS, "theo", seed, "speakers-theo-0", samples, samples, samples)


def model() -> pt.Model:
    return pt.Model(tasks.network(), init_params(tasks.network(), 0),
                    pt.Learner(tasks.network(), mean=0.5, std=0.5).input_format)


def test_golden_and_its_twin_begin_and_learn_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "EPOCHS", 2)
    seen: dict[str, Any] = {}

    def twin(graph: Any, x: Any, y: Any, **options: Any) -> pt.History:
        seen.update(options, graph=graph)
        return real(graph, x, y, **options)

    real = pt.fit_float
    monkeypatch.setattr(pt, "fit_float", twin)
    value, loss = runs.float32(model(), "skip-lora", case(), 0.003)
    assert 0 <= value <= 1 and 0 < loss < 10
    learner = runs.learner_of(model(), "skip-lora", 0, 0.003)
    assert seen["optimizer"] == learner.optimizer and seen["optimizer"].lr == 0.003
    assert seen["trainable"] == learner.trainable and seen["graph"] == learner.graph
    assert all(np.array_equal(own.weight, learner.params[name].weight)
               for name, own in seen["params"].items())
    assert abs(runs.golden(model(), "skip-lora", case(), 0.003) - value) <= 0.2
    assert runs.learner_of(model(), "bias", 0).optimizer.lr == runs.rate_of("bias")


def test_adaptations_are_stored_and_not_run_again(tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str, float | None]] = []

    def golden(one: pt.Model, rung: str, own: Case, lr: float | None = None) -> float:
        ran.append(("golden", rung, lr))
        return 0.5

    def float32(one: pt.Model, rung: str, own: Case, lr: float | None = None
                ) -> tuple[float, float]:
        ran.append(("float32", rung, lr))
        return 0.75, 1.0

    monkeypatch.setattr(runs, "base_model", lambda own, work: model())
    monkeypatch.setattr(runs, "before", lambda one, own: 0.25)
    monkeypatch.setattr(runs, "golden", golden)
    monkeypatch.setattr(runs, "float32", float32)
    path = tmp_path / "results" / "r.json"

    def run(rates: dict[str, float], ends: float = float("inf")) -> None:
        runs.adapt_all([case()], ("bias", "all"), ("bias",), rates, tmp_path, path, ends)

    run({"bias": 0.1}, ends=0.0)
    assert not ran and not path.exists()
    run({"bias": 0.1})
    assert ran == [("golden", "bias", 0.1), ("float32", "bias", 0.1),
                   ("golden", "all", runs.rate_of("all"))]
    assert store.read(path)[0] == {"speakers/theo/0": {
        "before": {"golden": 0.25}, "bias": {"lr": 0.1, "golden": 0.5, "float32": 0.75},
        "all": {"lr": runs.rate_of("all"), "golden": 0.5}}}
    run({"bias": 0.1})
    assert len(ran) == 3
    run({"bias": 0.03})  # another rate: what was stored does not count
    assert ran[3:] == [("golden", "bias", 0.03), ("float32", "bias", 0.03)]
    monkeypatch.setattr(store, "BATCH", 5)
    assert store.read(path) == ({}, {})


def test_rates_are_tried_once_and_the_best_is_taken(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def float32(one: pt.Model, rung: str, own: Case, lr: float | None = None
                ) -> tuple[float, float]:
        tried.append((own.task, lr))
        return {0.1: 0.6, 0.05: 0.7, 0.02: 0.9, 0.01: 0.9}.get(lr or 0.0, 0.5), 1.0

    def cases(task: str, folder: Path) -> list[Case]:
        return [Case(task, "theo", 100, "", *[case().mine] * 3)]

    monkeypatch.setattr(runs, "base_model", lambda own, work: model())
    monkeypatch.setattr(runs, "float32", float32)
    monkeypatch.setattr(runs, "rate_cases", cases)
    monkeypatch.setattr(runs, "rate_of", lambda rung: 0.09)
    path = tmp_path / "results" / "r.json"
    for _ in range(2):
        runs.try_rates(("bias",), tmp_path, tmp_path, path)
        assert tried == [(task, lr) for lr in (0.1, 0.2, 0.05, 0.02, 0.01, 0.005)
                         for task in tasks.TASKS]
    # Equally good ones are all passed: the smallest of them is taken.
    assert runs.chosen(store.read(path)[1]) == {"bias": 0.01}
    rates = store.read(path)[1]
    del rates["bias"]["0.005"][DIGITS]
    assert runs.chosen(rates) == {} and runs.next_rate(rates["bias"], 0.1) == 0.005


def test_the_ends_of_the_grid_have_one_neighbour() -> None:
    for lr, near in ((runs.GRID[0], runs.GRID[1]), (runs.GRID[-1], runs.GRID[-2])):
        one = {f"{lr:g}": dict.fromkeys(tasks.TASKS, 0.9)}
        assert runs.next_rate(one, 0.1) == near
        assert runs.next_rate({**one, f"{near:g}": dict.fromkeys(tasks.TASKS, 0.8)}, 0.1) is None


def full(of: dict[str, float], twin: float = 0.0) -> store.Runs:
    """Results of all cases: accuracies by rung, less a little where the seed is 1."""
    found: store.Runs = {}
    for task in tasks.TASKS:
        for place in tasks.places(task):
            for seed in SEEDS:
                low = 0.001 * (seed == 1)
                found[store.key(task, place, seed)] = {
                    "before": {"golden": 0.5}, **{
                        rung: {"lr": 0.1, "golden": value - low * (rung != "all"),
                               **({"float32": value + twin} if rung in page.TWINS else {})}
                        for rung, value in of.items()}}
    return found


def test_verdicts() -> None:
    values = dict.fromkeys(LADDER, 0.9) | {"all": 0.95, "sparse": 0.947}
    runs_ = full(values, twin=0.009)
    assert page.best_rung(runs_, SPEAKERS) == "sparse"
    one = page.against_all(runs_, SPEAKERS, "sparse")
    assert one is not None and one.pairs == 18 and one.text() == "-0.33 ± 0.01"
    text = "\n".join(page.lines(runs_, {}))
    assert "best rung against `all` (bar -0.5): `sparse` -0.33 ± 0.01; holds" in text
    assert "`lora`, golden against float32 (bar -1): -0.93 ± 0.01; holds" in text
    assert "| before | | 50.0 | | | 50.0 | |" in text and "| pen | 50.0 |" in text
    assert page.failures(runs_) == []
    low = page.failures(full(values | {"sparse": 0.94}, twin=0.012))
    assert len(low) == 7 and "-1.03" in low[0] and "-1.23" in low[2]


def test_what_is_not_complete_is_said() -> None:
    runs_ = full(dict.fromkeys(LADDER, 0.9))
    del runs_["speakers/theo/1"]["norm"], runs_["digits/pen/0"]
    text = "\n".join(page.lines(runs_, {}))
    assert "`norm`, golden against float32 (bar -1): -0.03 ± 0.01; 17 of 18 pairs so far" in text
    assert "shifted digits, best rung" in text and "11 of 12 pairs so far" in text
    assert "none ; 0 of 18 pairs so far" in "\n".join(page.lines({}, {}))


def test_the_page_has_a_place_for_it(tmp_path: Path) -> None:
    copy = tmp_path / "p.md"
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    page.write_page(copy, tmp_path / "none.json")
    once = copy.read_text(encoding="utf-8")
    assert "| `skip-lora` |" in once
    page.write_page(copy, tmp_path / "none.json")
    assert copy.read_text(encoding="utf-8") == once
    copy.write_text("nothing", encoding="utf-8")
    with pytest.raises(BadInput, match=r"place of the rungs' accuracies"):
        page.write_page(copy)


def test_the_page_is_that_of_the_stored_results(tmp_path: Path) -> None:
    copy = tmp_path / "p.md"
    text = page.PAGE.read_text(encoding="utf-8")
    copy.write_text(text, encoding="utf-8")
    page.write_page(copy)
    assert copy.read_text(encoding="utf-8") == text, "run python -m benchmarks.adaptation"


def test_the_library_tries_the_rates_that_were_chosen() -> None:
    chosen = runs.chosen(store.read()[1])
    assert {rung: RATES.get(rung, RATE) for rung in chosen} == chosen, "change adaptation/study.py"


def test_the_command_goes_on_and_says_what_is_below(tmp_path: Path, capsys: Any,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    copy, path = tmp_path / "p.md", tmp_path / "r.json"
    copy.write_text(f"{page.BEGIN}\n{page.END}\n", encoding="utf-8")
    store.write(full(dict.fromkeys(LADDER, 0.9) | {"all": 0.95}), {}, path)
    assert set(json.loads(path.read_text())) == {"recipe", "rates", "runs"}
    write, read = page.write_page, store.read
    monkeypatch.setattr(page, "write_page", lambda: write(copy, path))
    monkeypatch.setattr(store, "read", lambda where=path: read(where))
    assert command.main([]) == 1
    assert "BELOW THE BAR" in capsys.readouterr().out and "| `da3` |" in copy.read_text()

    def stopped(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "campaign", stopped)
    assert command.main(["--data", str(tmp_path)]) == 130
