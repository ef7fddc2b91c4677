"""Adaptation within a budget: what is tried, taken and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.adaptation import Budget, Settings, Study, adapted, course_of, study
from pynq_train.adaptation.folds import FEW, folds
from pynq_train.cli.main import main
from pynq_train.errors import BadInput, DoesNotFit, UnknownName
from pynq_train.graph import Model
from pynq_train.layers import init_params
from pynq_train.schedule.predict import predict

GRAPH = (pt.Sequential((1, 6, 6), "small").conv(20, 3, padding=1).relu().pool()
         .conv(20, 3, padding=1).relu().dense(3).build())
SETTINGS = Settings(epochs=6, batch=8)
RUNGS = ("last-layer", "bias", "skip-lora")


def samples(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose brightest pair of columns is the label."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = rng.normal(size=(count, 6, 6)) * 0.2
    for image, label in zip(x, y):
        image[:, 2 * label:2 * label + 2] += 1
    return x.astype(np.float32), y


@pytest.fixture(scope="module")
def trained() -> Model:
    x, y = samples(96)
    with pt.Learner(GRAPH, batch=8, optimizer=pt.SGD(lr=0.05)) as learner:
        learner.fit(x.transpose(0, 2, 1), y, epochs=3, progress=False)
        return Model(GRAPH, learner.params)


@pytest.fixture(scope="module")
def found(trained: Model) -> Study:
    x, y = samples(48, 1)
    return study(trained, x, y, Budget(), SETTINGS, rungs=(*RUNGS, "norm"))


def test_all_rungs_are_told_and_the_best_is_taken(found: Study) -> None:
    rungs = {rung.name: rung for rung in found.rungs}
    assert list(rungs) == [*RUNGS, "norm"]
    tried = [rung for rung in found.rungs if rung.accuracy is not None]
    assert [rung.name for rung in tried] == list(RUNGS)
    best = max(tried, key=lambda rung: (rung.accuracy, -rung.loss))
    assert best.taken and found.taken is best and best.accuracy > found.before + 0.2
    assert "a network with normalisation layers" in rungs["norm"].why and not rungs["norm"].batch
    assert sum(rung.taken for rung in found.rungs) == 1
    learner = SETTINGS.learner(
        SETTINGS.network(Model(GRAPH, init_params(GRAPH, 0)), "bias"), 8)
    assert (rungs["bias"].nbytes, rungs["bias"].step_cycles, rungs["bias"].steps) == (
        learner.plan.memory.nbytes, learner.predicted_step().cycles, 6 * 6)
    assert rungs["bias"].seconds == learner.board_time(36).both
    assert sum(rungs["bias"].kinds.values()) <= rungs["bias"].nbytes
    text = found.text()
    assert f"TAKEN: {best.why}" in text and "of 4 parts held out in turn" in text
    assert all(f"{rung.nbytes:,}" in text and f"{rung.cycles:,}" in text for rung in tried)
    assert json.loads(json.dumps(found.to_dict()))["taken"] == best.name


LONG = Settings(epochs=20, batch=6)


def test_frozen_layers_run_once_for_each_sample(trained: Model,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is counted, in bytes, cycles and seconds; without memory for it there is none."""
    x, y = samples(12, 1)
    used: list[bool] = []
    fit = pt.Learner.fit
    monkeypatch.setattr(pt.Learner, "fit", lambda self, *args, **more: (
        used.append(more["cache"]), fit(self, *args, **more))[1])
    result = study(trained, x, y, Budget(), LONG, rungs=["last-layer", "bias"])
    own, bias = result.rungs
    assert own.cached and not bias.cached and "cache" not in bias.kinds
    assert used == [True] * 4 + [False] * 4
    learner = LONG.learner(LONG.network(trained, "last-layer"), 6)
    plain, plan = learner.plan, learner.plan_cache()
    step, fill = predict(plan, plan.cached).cycles, predict(plan, plan.evaluate).cycles
    assert own.kinds["cache"] == own.course.cache_bytes == 12 * plan.cache_bytes > 0
    assert own.nbytes == plan.memory.nbytes + own.kinds["cache"]
    assert (own.step_cycles, own.steps, own.cycles) == (step, 40, 40 * step + 2 * fill)
    whole = course_of(plain, 12, 40)
    assert whole.cycles == 40 * predict(plain, plain.train).cycles > own.cycles
    assert whole.seconds > own.seconds > own.engine
    assert own.engine == pytest.approx(own.cycles / (1e6 * plan.board.clock_mhz))
    assert f"{own.kinds['cache']:,}" in result.text()
    values = json.loads(json.dumps(result.to_dict()))["rungs"]
    assert [one["cached"] for one in values] == [True, False]
    used.clear()
    less = study(trained, x, y, Budget(own.nbytes - 1), LONG, rungs=["last-layer"])
    assert used == [False] * 4 and less.taken.cycles == whole.cycles
    assert less.taken.nbytes == plain.memory.nbytes < own.nbytes
    adapted(trained, x, y, result, replace(LONG, epochs=2))
    assert used[4:] == [result.taken.cached]
    once, = study(trained, x, y, Budget(), replace(LONG, epochs=1), rungs=["last-layer"]).rungs
    assert not once.cached  # it would be full when all is over


def test_budgets_refuse(trained: Model, found: Study) -> None:
    """A budget just below what a rung needs refuses it, and says both numbers."""
    x, y = samples(48, 1)
    rungs = {rung.name: rung for rung in found.rungs}
    most = max(rungs[name].nbytes for name in RUNGS)
    tight = study(trained, x, y, Budget(most - 1), SETTINGS, rungs=RUNGS)
    over = {rung.name for rung in tight.rungs if "of memory" in rung.why}
    assert over == {name for name in RUNGS if rungs[name].nbytes == most}
    assert f"{most / 1e6:.3f} MB of memory" in next(r.why for r in tight.rungs if r.name in over)
    assert all(rung.accuracy is None for rung in tight.rungs if rung.name in over)
    with pytest.raises(DoesNotFit) as caught:
        study(trained, x, y, Budget(None, 1e-6), SETTINGS, rungs=RUNGS)
    cheapest = min((rungs[name] for name in RUNGS), key=lambda rung: rung.nbytes)
    assert f"the cheapest need {cheapest.name} {cheapest.nbytes} bytes" in str(caught.value)


def test_mini_batches_shrink_where_memory_is_short(trained: Model) -> None:
    x, y = samples(48, 1)
    free = replace(SETTINGS, batch=None, epochs=1)
    whole, = study(trained, x, y, Budget(), free, rungs=["last-layer"]).rungs
    assert whole.batch == 10
    less, = study(trained, x, y, Budget(whole.nbytes - 1), free, rungs=["last-layer"]).rungs
    assert less.batch == 5 and less.nbytes < whole.nbytes and less.steps == 9
    with pytest.raises(DoesNotFit, match="with a mini-batch of 2"):
        study(trained, x, y, Budget(100), free, rungs=["last-layer"])


def test_adapt(trained: Model, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = samples(48, 1)
    learner = pt.adapt(trained, x, y, memory="1 MB", seconds=5, epochs=6, batch=8,
                       rungs=["last-layer", "skip-lora"], seed=3)
    text = capsys.readouterr().out
    assert "trying last-layer" in text and "TAKEN" in text and "1.000 MB and 5 s" in text
    assert learner.evaluate(*samples(30, 2)).accuracy > 0.8 and learner.steps == 36
    again = pt.adapt(learner, x, y, epochs=1, rungs="bias", progress=False)
    assert again.trainable == "bias" and again.graph == learner.graph


def test_what_is_given_stays_as_it_is(trained: Model) -> None:
    """Whether an adaptation is refused or done: masters, exponents and counters."""
    x, y = samples(24, 1)
    with pt.Learner(trained, batch=8) as learner:
        before = learner.masters, learner.logits(x), learner.steps
        for bad in ({"memory": 10}, {"seconds": 1e-9}, {"memory": "much"}, {"rungs": ["norm"]}):
            with pytest.raises((BadInput, DoesNotFit)):
                pt.adapt(learner, x, y, progress=False, **bad)
        with pytest.raises(BadInput):
            pt.adapt(learner, x, y * 0)
        pt.adapt(learner, x, y, epochs=1, rungs="last-layer", progress=False)
        assert all(own.same_bits(learner.masters[name]) for name, own in before[0].items())
        np.testing.assert_array_equal(learner.logits(x), before[1])
        assert learner.steps == before[2]


def test_one_sample_of_each_class(trained: Model) -> None:
    """Nothing can be held out, which is said."""
    x, y = samples(3)
    found = study(trained, x, y, Budget(), Settings(epochs=2), rungs=["last-layer"])
    assert "on the samples themselves, of which no class has two" in found.text()
    assert found.taken.batch == 3


def test_bad_samples(trained: Model) -> None:
    x, y = samples(12)
    with pytest.raises(BadInput, match=r"two classes at least, found one alone: 1; add samples"):
        pt.adapt(trained, x, np.ones(12, int))
    with pytest.raises(BadInput, match="as many as the network has classes, 3, at least, found 2"):
        pt.adapt(trained, x[:2], y[:2])
    with pytest.raises(BadInput, match="one label for each image"):
        pt.adapt(trained, x, y[:5])
    with pytest.raises(BadInput, match="found a Graph, which has no weights; train it first"):
        pt.adapt(GRAPH, x, y)
    with pytest.raises(UnknownName, match="rung"):
        pt.adapt(trained, x, y, rungs=["first-layer"])
    with pytest.raises(BadInput, match="rungs: expected one at least"):
        pt.adapt(trained, x, y, rungs=[])


@pytest.mark.parametrize(("given", "nbytes"), [
    ("2 MB", 2_000_000), ("512KiB", 524_288), (1000, 1000), ("1.5kB", 1500), ("77", 77)])
def test_memory(given: int | str, nbytes: int) -> None:
    assert Budget.of(given, None) == Budget(nbytes, None)


@pytest.mark.parametrize("given", ["two MB", "2 TB", "", -1, 0, float("nan"), True, "0 MB"])
def test_memory_that_is_none(given: object) -> None:
    with pytest.raises(BadInput, match=r"memory: expected a number of bytes above 0.*found"):
        Budget.of(given, None)
    if not isinstance(given, str):
        with pytest.raises(BadInput, match="seconds: expected a number above 0"):
            Budget.of(None, given)


def test_folds() -> None:
    """Of few samples each is held out once, classes evenly; of many a fifth."""
    y = np.array([0] * 9 + [1] * 4 + [2])
    pairs = folds(y, 0)
    held = np.concatenate([own for _, own in pairs])
    assert sorted(held) == list(range(13))  # the only sample of its class is never held out
    for train, own in pairs:
        assert not set(train) & set(own) and len(train) + len(own) == 14 and 13 in train
        assert np.bincount(y[own], minlength=2)[0] in (2, 3) and (y[own] == 1).sum() == 1
    (train, own), = folds(np.arange(5), 0)
    assert list(train) == list(own) == [0, 1, 2, 3, 4]
    (train, own), = folds(np.arange(FEW) % 4, 1)
    assert len(own) == FEW / 5 and (np.bincount(np.arange(FEW)[own] % 4) == 10).all()
    assert len(train) == FEW - len(own)


def test_command(trained: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = samples(48, 1)
    data, model, result = tmp_path / "d.npz", tmp_path / "m.safetensors", tmp_path / "r.json"
    np.savez(data, x_train=x, y_train=y, x_test=x[:12], y_test=y[:12])
    pt.Learner(trained, batch=8).save(model)
    common = ["adapt", "--model", str(model), "--data", str(data), "--epochs", "4"]
    assert main([*common, "--memory", "1MB", "--seconds", "9", "--rungs", "last-layer, skip-lora",
                 "--json", str(result), "--no-progress"]) == 0
    text = capsys.readouterr().out
    values = json.loads(result.read_text())
    adapted = pt.load(tmp_path / "m-adapted.safetensors")
    assert "TAKEN: the most accurate" in text and values["accuracy_after"] > 0.7
    assert adapted.steps == next(rung["steps"] for rung in values["rungs"] if rung["taken"])
    assert main([*common, "--memory", "1kB", "--rungs", "bias"]) == 3
    assert "the cheapest need bias" in capsys.readouterr().err
    assert main([*common, "--memory", "much"]) == 2
    assert main(["adapt", "--model", "digits", "--data", str(data)]) == 2


