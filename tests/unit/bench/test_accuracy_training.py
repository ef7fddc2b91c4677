"""Pairs of the accuracy campaign: equal starts, and nothing lost where it is interrupted."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from squares import squares

import pynq_train as pt
from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import store, tasks, training
from benchmarks.accuracy.page import FAILURES
from benchmarks.accuracy.store import FIXED, FLOAT, SHARED, Run
from benchmarks.accuracy.tasks import DataSet, Recipe, Task
from benchmarks.accuracy.training import CpuTime, Interrupted, Pair, weights_hash
from pynq_train.data import batches
from pynq_train.errors import BadInput
from pynq_train.graph import Graph, zoo
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params
from pynq_train.train.images import ImageSource, measure_normalisation

RECIPE = Recipe("digits", "squares", 40, 2, 10, 0.05)
HANDED_OVER = replace(RECIPE, float_epochs=2)
STEPS = 8
"""Steps of each arithmetic: two epochs of four."""


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.DATA_SETS, "squares", DataSet("squares", 30, squares))


def make(folder: Path, recipe: Recipe = RECIPE, seed: int = 3) -> Pair:
    return Pair("task", recipe, seed, folder, folder / "work", folder / "results")


def read(folder: Path, recipe: Recipe = RECIPE, seed: int = 3) -> store.Pair:
    return store.read("task", recipe, folder / "results").get(seed, {})


def untrained(graph: Graph, recipe: Recipe, seed: int, *rest: Any) -> tuple[Any, float]:
    """Stand in for the shared training, without PyTorch."""
    return init_params(graph, seed), 0.1


def test_a_pair_equals_what_learner_and_twin_reach(tmp_path: Path) -> None:
    make(tmp_path).run()
    train, test = tasks.samples(RECIPE, tmp_path, 3)
    assert len(train[0]) == 40
    sgd = pt.SGD(lr=0.05, weight_decay=5e-4)
    with pt.Learner("digits", optimizer=sgd, batch=10, seed=3, normalise=True) as learner:
        fixed = learner.fit(*train, epochs=2, validation_data=test, progress=False)
        twin = pt.fit_float(learner.graph, *train, epochs=2, optimizer=sgd, batch=10, seed=3,
                            validation_data=test, normalisation=learner.normalisation)
    pair = read(tmp_path)
    for kind, history in ((FIXED, fixed), (FLOAT, twin)):
        assert pair[kind].accuracy == pytest.approx(
            [epoch.val_accuracy for epoch in history.epochs], abs=1e-5)
        assert pair[kind].cpu_seconds is not None
    assert (pair[FIXED].cpu_seconds or 0) > 0
    assert not list((tmp_path / "work").iterdir()), "nothing is left behind"


@pytest.mark.parametrize("in_order", [True, False])
def test_an_interrupted_training_goes_on_from_its_checkpoint(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_order: bool) -> None:
    """By Ctrl-C, for which the learner ends its step, or by anything worse."""
    make(tmp_path / "whole").run()
    count, real = [0], CpuTime.on_step

    def counted(self: CpuTime, *arguments: Any) -> None:
        real(self, *arguments)
        count[0] += 1
        if count[0] == 6 and in_order:
            signal.raise_signal(signal.SIGINT)
        elif count[0] == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(CpuTime, "on_step", counted)
    monkeypatch.setattr(training, "SAVE_STEPS", 2)
    with pytest.raises(Interrupted):
        make(tmp_path / "cut").run()
    assert read(tmp_path / "cut") == {}
    make(tmp_path / "cut").run()
    assert count[0] <= STEPS + 2, "the training began anew"
    whole, cut = read(tmp_path / "whole"), read(tmp_path / "cut")
    assert cut[FIXED].accuracy == whole[FIXED].accuracy
    assert cut[FLOAT].accuracy == whole[FLOAT].accuracy


def test_cpu_time_is_kept_in_checkpoints() -> None:
    cpu = CpuTime()
    cpu.restore({"seconds": 100.0})
    sum(range(1_000_000))
    cpu.on_end(None)  # type: ignore[arg-type]
    assert 100 < cpu.state()["seconds"] < 160


def test_a_checkpoint_of_another_recipe_is_not_taken_up(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: CpuTime, *arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(CpuTime, "on_step", interrupted)
        make(tmp_path).run()
    other = replace(RECIPE, epochs=1)
    make(tmp_path, other).run()
    assert len(read(tmp_path, other)[FIXED].accuracy) == 1


@pytest.mark.parametrize(("tested", "train_images"), [(31, 40), (30, 61)])
def test_other_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tested: int,
                                train_images: int) -> None:
    monkeypatch.setitem(tasks.DATA_SETS, "squares", DataSet("squares", tested, squares))
    with pytest.raises(BadInput, match=r"data set squares.*expected .* found 30, 60"):
        make(tmp_path, replace(RECIPE, train_images=train_images)).run()


def test_what_is_stored_is_not_trained_again(tmp_path: Path) -> None:
    done = Run((0.1, 0.2), 1.0)
    store.add("task", RECIPE, 3, FIXED, done, tmp_path / "results")
    make(tmp_path).run()
    pair = read(tmp_path)
    assert pair[FIXED] == done
    assert len(pair[FLOAT].accuracy) == 2


def test_both_arithmetics_begin_with_the_shared_weights(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: dict[str, str] = {}
    real_fit, real_model = pt.fit_float, pt.Model

    def fit_float(*arguments: Any, **options: Any) -> pt.History:
        begun[FLOAT] = weights_hash(options["params"])
        assert options["optimizer"].rate(0, STEPS) == RECIPE.lr / 2
        return real_fit(*arguments, **options)

    def model(graph: Graph, params: Any) -> pt.Model:
        begun[FIXED] = weights_hash(params)
        return real_model(graph, params)

    monkeypatch.setattr(training, "shared_training", untrained)
    monkeypatch.setattr(pt, "fit_float", fit_float)
    monkeypatch.setattr(pt, "Model", model)
    make(tmp_path, HANDED_OVER).run()
    pair = read(tmp_path, HANDED_OVER)
    weights = weights_hash(init_params(zoo.get("digits"), 3))
    assert begun == {FIXED: weights, FLOAT: weights}
    assert pair[SHARED].weights == weights
    assert pair[SHARED].accuracy == (0.1,)


@pytest.mark.parametrize("same", [True, False])
def test_weights_that_were_lost_are_trained_anew(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool) -> None:
    """An arithmetic that began with other weights than the new ones is trained again."""
    def killed(*arguments: Any, **options: Any) -> pt.History:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "shared_training", untrained)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(pt, "fit_float", killed)
        make(tmp_path, HANDED_OVER).run()
    first = read(tmp_path, HANDED_OVER)
    assert set(first) == {SHARED, FIXED}
    for file in (tmp_path / "work").glob("*.npz"):
        file.unlink()
    if not same:
        monkeypatch.setattr(training, "shared_training", lambda graph, recipe, seed, *rest:
                            (init_params(graph, seed + 1), 0.2))
    make(tmp_path, HANDED_OVER).run()
    pair = read(tmp_path, HANDED_OVER)
    assert set(pair) == {SHARED, FIXED, FLOAT}
    assert (pair[SHARED].weights == first[SHARED].weights) is same
    assert (pair[FIXED] == first[FIXED]) is same  # their CPU seconds, too


def test_a_checkpoint_that_began_with_lost_weights_is_dropped(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [0]

    def counted(self: CpuTime, *arguments: Any) -> None:
        steps[0] += 1
        if steps[0] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "SAVE_STEPS", 1)
    monkeypatch.setattr(training, "shared_training", untrained)
    monkeypatch.setattr(CpuTime, "on_step", counted)
    with pytest.raises(Interrupted):
        make(tmp_path, HANDED_OVER).run()
    for file in (tmp_path / "work").glob("*.npz"):
        file.unlink()
    monkeypatch.setattr(training, "shared_training", lambda graph, recipe, seed, *rest:
                        (init_params(graph, seed + 1), 0.2))
    make(tmp_path, HANDED_OVER).run()
    assert steps[0] == 3 + STEPS


@pytest.mark.oracle
def test_the_shared_training_is_that_of_the_float_reference() -> None:
    recipe = Recipe("small", "squares", 24, 1, 8, 0.1, weight_decay=0.02, float_epochs=2)
    graph = (pt.Sequential((1, 8, 8)).conv(8, 3, padding=1, bias=False).norm().relu().pool()
             .conv(8, 3, padding=1).relu().dense(10).build())
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (24, *graph.input_shape), dtype=np.uint8)
    y = rng.integers(0, graph.classes, 24)
    form = ImageFormat((0, 1), measure_normalisation(x, graph.input_shape, ANY_IMAGES))
    params, accuracy = training.shared_training(graph, recipe, 4, (x, y), (x, y), form)
    trainer = FloatTrainer(graph, init_params(graph, 4), momentum=0.9, weight_decay=0.02)
    images = ImageSource(x, graph.input_shape, form)
    # The warm-up takes a quarter of six steps, one; then a line of five from the peak to a third.
    rates = [0.1 * factor for factor in (1, *(1 - 2 / 3 * step / 5 for step in range(5)))]
    for epoch in range(2):
        for at, index in enumerate(batches(24, 8, 4, epoch, drop_last=True)):
            trainer.step(images.take(index), y[index], rates[3 * epoch + at])
    for name, own in trainer.params.items():
        for field in ("weight", "bias", "mean", "variance"):
            want = getattr(own, field)
            if want is not None:
                got = getattr(params[name], field)
                worst = float(np.abs(got - want).max())
                assert worst <= 1e-3 * float(np.abs(want).max()) + 1e-5, f"{name}.{field}: {worst}"
    assert accuracy == pytest.approx(trainer.evaluate(images.take(slice(None)), y)[1], abs=0.05)
    assert recipe.last_rate == pytest.approx(0.1 / 3)


def test_a_campaign_goes_on_where_it_was_interrupted(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[str, int]] = []
    cut = [("second", 1)]

    def run(self: Pair, board: str) -> None:
        begun.append((self.task, self.seed))
        if cut and begun[-1] == cut[0]:
            cut.clear()
            raise Interrupted
        for kind, accuracy in ((FIXED, 0.5), (FLOAT, 0.5 + 0.01 * (self.seed % 2))):
            store.add(self.task, self.recipe, self.seed, kind, Run((0.0, accuracy)), tmp_path)

    monkeypatch.setattr(Pair, "run", run)
    both = {"first": Task(RECIPE, pairs=1, most=1), "second": Task(RECIPE, pairs=2, most=5)}
    shown: list[int] = []

    def after_pair() -> None:
        shown.append(len(begun))

    with pytest.raises(Interrupted):
        command.campaign(both, tmp_path, results=tmp_path, work=tmp_path, after_pair=after_pair)
    command.campaign(both, tmp_path, results=tmp_path, work=tmp_path, after_pair=after_pair)
    assert shown == [1, 2, 4, 5, 6]
    # Differences of 0 and -1 point: a standard error of 0.5, 0.33, 0.29.
    assert begun == [("first", 0), ("second", 0), ("second", 1),
                     ("second", 1), ("second", 2), ("second", 3)]
    command.campaign(both, tmp_path, results=tmp_path, work=tmp_path)
    assert len(begun) == 6, "all is stored"
    command.campaign({"third": both["first"]}, tmp_path, minutes=0, results=tmp_path,
                     work=tmp_path)
    assert len(begun) == 6, "no time is left"


def test_the_command_without_data_writes_the_pages_alone(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, readme = tmp_path / "accuracy.md", tmp_path / "README.md"
    readme.write_text(command.README.read_text(encoding="utf-8"), encoding="utf-8")
    wanted = command.PAGE.read_text(encoding="utf-8"), readme.read_text(encoding="utf-8")
    monkeypatch.setattr(command, "PAGE", page)
    monkeypatch.setattr(command, "README", readme)
    code = command.main([])
    assert (page.read_text(encoding="utf-8"), readme.read_text(encoding="utf-8")) == wanted
    failed = any(f"| {word} |" in wanted[0] for word in FAILURES)
    assert code == int(failed)
