"""Base networks, and adaptations of them on golden and in float32."""
# ruff: noqa: T201

from __future__ import annotations

import io
import math
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import pynq_train as pt
from benchmarks.accuracy.tasks import Recipe
from benchmarks.accuracy.training import Params, from_arrays, shared_training, to_arrays
from benchmarks.adaptation import store
from benchmarks.adaptation.tasks import BASES, TASKS, Base, Case, network, rate_cases
from pynq_train.adaptation import BATCH, EPOCHS, Settings
from pynq_train.adaptation.study import RATE, RATES
from pynq_train.errors import DataWarning, TrainingWarning
from pynq_train.files import write_atomic
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat
from pynq_train.train.images import measure_normalisation

GRID = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Learning rates that may be tried for a rung."""


def base_model(case: Case, work: Path) -> pt.Model:
    """Return the base network of a case; it is trained once, with PyTorch, and kept.

    Args:
        case: the case.
        work: folder of base networks.

    Raises:
        MissingTool: PyTorch is not installed.
    """
    graph, base = network(), BASES[case.task]
    form = ImageFormat((0, 1), measure_normalisation(case.train[0], graph.input_shape, ANY_IMAGES))
    path = work / f"{case.base}-{_name(base)}.npz"
    if path.exists():
        with np.load(path) as arrays:
            return pt.Model(graph, from_arrays(arrays), form)
    began = time.process_time()
    params, accuracy = _trained(base, case, form)
    file = io.BytesIO()
    np.savez(file, **to_arrays(params))
    work.mkdir(parents=True, exist_ok=True)
    write_atomic(path, file.getvalue())
    print(f"{case.base}: {100 * accuracy:.2f} % of {case.place} "
          f"({time.process_time() - began:.1f} s)", flush=True)
    return pt.Model(graph, params, form)


def _trained(base: Base, case: Case, form: ImageFormat) -> tuple[Params, float]:
    recipe = Recipe("", "", base.images, 1, base.batch, base.lr, float_epochs=base.epochs)
    return shared_training(network(), recipe, case.seed, case.train, case.test, form)


def _name(base: Base) -> str:
    return "-".join(f"{value:g}" for value in asdict(base).values())


def learner_of(model: pt.Model, rung: str, seed: int, lr: float | None = None) -> pt.Learner:
    """Return a learner as ``pt.adapt`` makes it, on golden.

    Args:
        model: the base network.
        rung: of the ladder.
        seed: of adapters and orders.
        lr: learning rate, None: that of the rung.
    """
    settings = Settings(seed=seed)
    learner = settings.learner(settings.network(model, rung), BATCH)
    if lr is not None:
        learner.optimizer = replace(learner.optimizer, lr=lr)
    return learner


def golden(model: pt.Model, rung: str, case: Case, lr: float | None = None) -> float:
    """Return the accuracy behind an adaptation on golden."""
    with learner_of(model, rung, case.seed, lr) as learner, _quiet():
        learner.fit(*case.mine, epochs=EPOCHS, progress=False)
        return learner.evaluate(*case.test).accuracy


def before(model: pt.Model, case: Case) -> float:
    """Return the accuracy of the base network on golden."""
    with learner_of(model, "last-layer", case.seed) as learner, _quiet():
        return learner.evaluate(*case.test).accuracy


def float32(model: pt.Model, rung: str, case: Case, lr: float | None = None
            ) -> tuple[float, float]:
    """Return accuracy and loss behind the same adaptation in float32."""
    learner = learner_of(model, rung, case.seed, lr)
    with _quiet():
        history = pt.fit_float(
            learner.graph, *case.mine, epochs=EPOCHS, optimizer=learner.optimizer, batch=BATCH,
            seed=case.seed, validation_data=case.test, normalisation=learner.normalisation,
            input_range=learner.input_format.input_range, params=learner.params,
            trainable=learner.trainable, validation_every=EPOCHS)
    last = history.epochs[-1]
    assert last.val_accuracy is not None and last.val_loss is not None
    return last.val_accuracy, last.val_loss


def adapt_all(cases: Iterable[Case], rungs: Sequence[str], twins: Collection[str],
              rates: Mapping[str, float], work: Path, path: Path = store.PATH,
              ends: float = math.inf) -> None:
    """Adapt what has not been adapted with these rates; results are stored one by one.

    Args:
        cases: what adapts to what.
        rungs: of the ladder.
        twins: rungs that adapt in float32 as well.
        rates: learning rates by rung; that of the others is the library's.
        work: folder of base networks.
        path: file of results.
        ends: ``time.monotonic()`` from which on nothing new begins.
    """
    for case in cases:
        name = store.key(case.task, case.place, case.seed)
        model: pt.Model | None = None
        for rung in (store.BEFORE, *rungs):
            lr = None if rung == store.BEFORE else rates.get(rung, rate_of(rung))
            wanted = {store.GOLDEN, *([store.FLOAT] if rung in twins else [])}
            known = store.read(path)[0].get(name, {}).get(rung, {})
            if known.get("lr") == lr and wanted <= set(known):
                continue
            if time.monotonic() >= ends:
                return
            model = model or base_model(case, work)
            began, found = time.process_time(), {}
            if rung == store.BEFORE:
                found[store.GOLDEN] = before(model, case)
            else:
                found[store.GOLDEN] = golden(model, rung, case, lr)
                if rung in twins:
                    found[store.FLOAT] = float32(model, rung, case, lr)[0]
            seconds = round(time.process_time() - began, 1)
            runs, tried = store.read(path)
            runs.setdefault(name, {})[rung] = {
                **({} if lr is None else {"lr": lr}),
                **{kind: round(value, 5) for kind, value in found.items()}}
            store.write(runs, tried, path)
            print(f"{name} {rung}: " + ", ".join(f"{kind} {100 * value:.2f} %"
                                                 for kind, value in found.items())
                  + f" ({seconds} s)", flush=True)


def rate_of(rung: str) -> float:
    """Return the learning rate with which ``pt.adapt`` tries a rung."""
    return RATES.get(rung, RATE)


def try_rates(rungs: Sequence[str], data: Path, work: Path, path: Path = store.PATH,
              ends: float = math.inf) -> None:
    """Try learning rates in float32, each result stored when it is there.

    For each rung it begins with the library's rate, and tries the neighbours of the best one so far
    until both are worse.

    Args:
        rungs: of the ladder.
        data: folder of the data sets.
        work, path, ends: as of :func:`adapt_all`.
    """
    found = {task: list(rate_cases(task, data)) for task in TASKS}
    for rung in rungs:
        while (lr := next_rate(store.read(path)[1].get(rung, {}), rate_of(rung))) is not None:
            for task, cases in found.items():
                if task in store.read(path)[1].get(rung, {}).get(f"{lr:g}", {}):
                    continue
                if time.monotonic() >= ends:
                    return
                began = time.process_time()
                value = float(np.mean([float32(base_model(case, work), rung, case, lr)[0]
                                       for case in cases]))
                runs, rates = store.read(path)
                rates.setdefault(rung, {}).setdefault(f"{lr:g}", {})[task] = round(value, 5)
                store.write(runs, rates, path)
                print(f"{rung} {lr:g} {task}: {100 * value:.2f} % "
                      f"({time.process_time() - began:.1f} s)", flush=True)


def next_rate(by_rate: Mapping[str, Mapping[str, float]], first: float) -> float | None:
    """Return the rate to be tried next, None if the best one's neighbours have been tried.

    Args:
        by_rate: what has been tried of a rung.
        first: where to begin.
    """
    whole = _means(by_rate)
    if not whole:
        return min(GRID, key=lambda lr: abs(math.log(lr / first)))
    at = GRID.index(_best(whole))
    for near in (at + 1, at - 1):
        if 0 <= near < len(GRID) and GRID[near] not in whole:
            return GRID[near]
    return None


def chosen(rates: store.Rates) -> dict[str, float]:
    """Return the best rate of each rung: of both tasks' mean accuracy, of equal ones the smaller.

    Rungs with a rate to be tried are left out.
    """
    return {rung: _best(_means(by_rate)) for rung, by_rate in rates.items()
            if by_rate and next_rate(by_rate, rate_of(rung)) is None}


def _means(by_rate: Mapping[str, Mapping[str, float]]) -> dict[float, float]:
    """Return the mean accuracy of the tasks by rate, where all have been tried."""
    return {float(lr): float(np.mean([*tasks.values()])) for lr, tasks in by_rate.items()
            if set(tasks) == set(TASKS)}


def _best(means: Mapping[float, float]) -> float:
    return min(means, key=lambda lr: (-means[lr], lr))


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings of a training are not shown: what they warn of, the accuracy says."""
    with warnings.catch_warnings():
        for kind in (TrainingWarning, DataWarning):
            warnings.simplefilter("ignore", kind)
        yield
