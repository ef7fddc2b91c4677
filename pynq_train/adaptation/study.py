"""Rungs compared on a user's samples and a board's plan; the best one that the budget allows."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.adaptation.budget import Budget, bytes_text, seconds_text
from pynq_train.adaptation.course import Course, course_of
from pynq_train.adaptation.folds import folds
from pynq_train.errors import BadInput, DoesNotFit, PynqTrainError, TrainingWarning, UnknownName
from pynq_train.graph import Graph, Model
from pynq_train.rungs import RUNGS, with_adapters
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.trainable import KEYWORDS
from pynq_train.train import SGD, Learner
from pynq_train.train.state import TrainState

LADDER = ("last-layer", "bias", "norm", "last-block", "skip-lora", "sparse", "lora",
          "lite-residual", "da3", "all")
"""Rungs that are tried, the cheaper ones first."""
EPOCHS, BATCH = 20, 10
LEAST_BATCH = 2
RATES: Mapping[str, float] = {"bias": 0.5, "norm": 0.1, "sparse": 0.01, "lite-residual": 0.05}
"""Learning rates by rung; that of the others is :data:`RATE`. ``python -m benchmarks.adaptation``
has compared them."""
RATE, WARMUP = 0.02, 5
_TRIALS = "golden"
"""Board of the trials: a plan for another one has the same bits."""
_NO_COURSE = Course(0, 0)
"""Of a rung that has no plan."""


@dataclass(frozen=True)
class Rung:
    """What a rung needs and gives.

    Attributes:
        name: of the rung.
        why: why it was taken or refused.
        batch: images of a mini-batch; 0 where there is no plan.
        nbytes: memory of its plan and its cache, ``kinds`` by kind.
        course: predicted runs of the whole adaptation.
        accuracy: on samples that were held out, None where it was not tried; ``loss``: mean there.
        note: what it does with normalisations.
        taken: whether it was taken.
    """

    name: str
    why: str = ""
    batch: int = 0
    nbytes: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    course: Course = _NO_COURSE
    accuracy: float | None = None
    loss: float | None = None
    note: str = ""
    taken: bool = False

    @property
    def cached(self) -> bool:
        """Whether what frozen layers make of the samples is kept, and all steps begin with it."""
        return self.course.fills > 0

    @property
    def step_cycles(self) -> int:
        """Predicted cycles of a training step."""
        return self.course.step_cycles

    @property
    def steps(self) -> int:
        """Training steps of the whole adaptation."""
        return self.course.steps

    @property
    def cycles(self) -> int:
        """Predicted cycles of the whole adaptation, with those that fill a cache."""
        return self.course.cycles

    @property
    def engine(self) -> float:
        """Predicted seconds of the engine for the whole adaptation."""
        return self.course.engine

    @property
    def seconds(self) -> float:
        """Predicted seconds of engine and processor for the whole adaptation."""
        return self.course.seconds

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**vars(self), "kinds": dict(self.kinds), "course": vars(self.course),
                "step_cycles": self.step_cycles, "steps": self.steps, "cycles": self.cycles,
                "engine": self.engine, "seconds": self.seconds, "cached": self.cached}


@dataclass(frozen=True)
class Study:
    """All rungs, and what they were compared on.

    Attributes:
        rungs: in the order of the ladder.
        before: accuracy of the network as it was, on the samples that were held out.
        held_out: how they were.
        budget: what was allowed.
        board: for which was planned.
    """

    rungs: tuple[Rung, ...]
    before: float
    held_out: str
    budget: Budget
    board: str

    @property
    def taken(self) -> Rung:
        """The rung that was taken."""
        return next(rung for rung in self.rungs if rung.taken)

    def text(self) -> str:
        """Return a table for people: each rung with bytes, cycles, accuracy and why."""
        rows = [("rung", "batch", "bytes", "of a cache", "cycles a step", "cycles in all",
                 "seconds", "accuracy", "")]
        for rung in self.rungs:
            planned = rung.batch > 0
            rows.append((
                rung.name, str(rung.batch) if planned else "-",
                f"{rung.nbytes:,}" if planned else "-",
                f"{rung.course.cache_bytes:,}" if rung.cached else "-",
                f"{rung.step_cycles:,}" if planned else "-",
                f"{rung.cycles:,}" if planned else "-", f"{rung.seconds:.3g}" if planned else "-",
                "-" if rung.accuracy is None else f"{100 * rung.accuracy:.1f} %",
                ("TAKEN: " if rung.taken else "") + rung.why))
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)]
        lines = [f"budget on {self.board}: {self.budget}; accuracy {self.held_out}; without "
                 f"adaptation {100 * self.before:.1f} %"]
        for row in rows:
            cells = [cell.ljust(width) if at == 0 else cell.rjust(width)
                     for at, (cell, width) in enumerate(zip(row, widths))]
            lines.append("  ".join([*cells, row[-1]]).rstrip())
        own = self.taken
        kinds = ", ".join(f"{kind} {bytes_text(size)}" for kind, size in sorted(own.kinds.items()))
        lines.append(f"{own.name}: {kinds}" + (f"; {own.note}" if own.note else ""))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"board": self.board, "memory": self.budget.memory, "seconds": self.budget.seconds,
                "before": self.before, "held_out": self.held_out, "taken": self.taken.name,
                "rungs": [rung.to_dict() for rung in self.rungs]}


@dataclass(frozen=True)
class Candidate:
    """A network on a rung.

    Attributes:
        rung: name of the rung.
        model: the network, with what the rung adds.
        trainable: what learns.
        note: what was done with normalisations.
    """

    rung: str
    model: Model
    trainable: str | tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Settings:
    """How every rung adapts.

    Attributes:
        board: where the network adapts.
        epochs: passes over the samples.
        batch: images of a mini-batch, None: as many up to ten as the memory takes.
        optimizer: SGD for all rungs, None: each with a rate of its own.
        seed: of adapters, orders and what is held out.
        class_names: of the network's classes, where the labels are names.
    """

    board: str = "golden"
    epochs: int = EPOCHS
    batch: int | None = None
    optimizer: SGD | None = None
    seed: int = 0
    class_names: Sequence[str] | None = None

    def network(self, model: Model, rung: str) -> Candidate:
        """Return a network with what a rung adds to it.

        Raises:
            BadInput: the network has nothing that the rung could adapt.
        """
        if rung not in RUNGS:
            return Candidate(rung, model, rung)
        own = with_adapters(model, rung, seed=self.seed)
        return Candidate(rung, own.model, own.trainable, own.note)

    def learner(self, network: Candidate, batch: int, board: str | None = None) -> Learner:
        """Return a learner of a rung; ``board``: another one than that of the settings."""
        optimizer = self.optimizer or SGD(lr=RATES.get(network.rung, RATE), schedule="cosine",
                                          warmup_steps=WARMUP)
        return Learner(network.model, board=board or self.board, optimizer=optimizer, batch=batch,
                       seed=self.seed, trainable=network.trainable, class_names=self.class_names)


def model_of(given: Model | Learner) -> Model:
    """Return the network of a learner, or a model, as a model.

    Raises:
        BadInput: it is neither: a graph has no weights that could be adapted.
    """
    if isinstance(given, Learner):
        return Model(given.graph, given.params, given.input_format)
    if isinstance(given, Model):
        return given
    raise BadInput("model", expected="a Model or a Learner: a trained network",
                   found="a Graph, which has no weights" if isinstance(given, Graph)
                   else repr(given)[:80],
                   fix="train it first; pynq_train.load(path) returns what a file holds")


def check_samples(x: Any, y: Any, model: Model) -> tuple[Any, NDArray[Any], NDArray[np.int64]]:
    """Return images, labels and the classes among them, numbered in their order.

    Raises:
        BadInput: not as many labels as images, one class alone, or fewer samples than the network
            has classes.
    """
    x, y = np.asanyarray(x), np.asarray(y)
    if y.ndim != 1 or not len(x.shape) or len(x) != len(y):
        raise BadInput("samples", expected="one label for each image",
                       found=f"images of shape {x.shape} and labels of shape {y.shape}")
    unique, numbers = np.unique(y, return_inverse=True)
    if len(unique) < 2:
        raise BadInput("samples to adapt to", expected="two classes at least",
                       found=f"one alone: {unique[0]}" if len(unique) else "none",
                       fix="add samples of the other classes: a network that sees one class "
                           "answers with it, whatever it is shown")
    if len(y) < model.graph.classes:
        raise BadInput("samples to adapt to", found=len(y),
                       expected=f"as many as the network has classes, {model.graph.classes}, at "
                       "least", fix="add samples; one or two of each class do")
    return x, y, numbers.reshape(-1)


def check_rungs(rungs: Sequence[str]) -> tuple[str, ...]:
    """Return names of rungs.

    Raises:
        UnknownName: one is none.
        BadInput: there are none.
    """
    names = (rungs,) if isinstance(rungs, str) else tuple(rungs)
    for name in names:
        if name not in (*KEYWORDS, *RUNGS):
            raise UnknownName.among("rung", name, (*KEYWORDS, *RUNGS))
    if not names:
        raise BadInput("rungs", expected="one at least", found="none")
    return names


def study(model: Model | Learner, x: Any, y: Any, budget: Budget, settings: Settings, *,
          rungs: Sequence[str] = LADDER, progress: bool = False) -> Study:
    """Compare rungs on samples; return all of them, of which one is taken.

    Each is planned for the board; what the budget allows is trained on a part of the samples and
    compared on the others (:func:`~pynq_train.adaptation.folds.folds`). The most accurate one is
    taken, of equal ones that with the smaller loss. Where layers in front are frozen, a rung trains
    from a cache of their maps (:meth:`Learner.fit`), if that is faster and the memory allows it.

    Args:
        model: the network.
        x: images.
        y: their labels.
        budget: what the adaptation may take.
        settings: how every rung adapts.
        rungs: their names.
        progress: say which rung is tried.

    Raises:
        BadInput: the samples say too little (:func:`check_samples`).
        DoesNotFit: no rung fits the budget; the text says what the cheapest needs.
    """
    names = check_rungs(rungs)
    own = model_of(model)
    x, y, numbers = check_samples(x, y, own)
    pairs = folds(numbers, settings.seed)
    most = min(len(train) for train, _ in pairs)
    networks: dict[str, Candidate] = {}
    planned = [_planned(own, name, budget, settings, len(x), most, networks) for name in names]
    fitting = [rung for rung in planned if rung.batch and not rung.why]
    if not fitting:
        raise _nothing_fits(planned, budget)
    before = _before(own, x, y, pairs, settings)
    found: dict[str, Rung] = {}
    for rung in fitting:
        if progress:
            _say(f"trying {rung.name}: {bytes_text(rung.nbytes)}, {seconds_text(rung.seconds)} on "
                 f"{settings.board}")
        found[rung.name] = _tried(networks[rung.name], x, y, pairs, rung, settings)
    best = max(found.values(), key=lambda rung: (rung.accuracy or 0.0, -(rung.loss or 0.0)))
    result = tuple(_judged(found.get(rung.name, rung), best) for rung in planned)
    held = f"on {len(pairs[0][1])} samples held out"
    if len(pairs) > 1:
        held = f"of {len(pairs)} parts held out in turn"
    elif len(pairs[0][0]) == len(x):
        held = "on the samples themselves, of which no class has two"
    return Study(result, before, held, budget, settings.board)


def adapt(model: Model | Learner, x: Any, y: Any, *, memory: int | str | None = None,
          seconds: float | None = None, board: str = "golden", epochs: int = EPOCHS,
          batch: int | None = None, optimizer: SGD | None = None,
          rungs: Sequence[str] = LADDER, seed: int = 0,
          class_names: Sequence[str] | None = None, progress: bool = True) -> Learner:
    """Return a learner that has adapted to samples, on the best rung that a budget allows.

    Every rung is planned for the board; those that fit are compared on samples that are held out
    (by golden, whose bits are the board's), and the best adapts to all of them on the board. Each
    is printed with bytes, cycles, accuracy, and why it was taken or refused.

    Args:
        model: a trained network: a model or a learner, which stay as they are.
        x: images, as for :meth:`Learner.fit`.
        y: their labels.
        memory: bytes of device memory: a number, or a text such as ``2 MB``; None: any.
        seconds: of the whole adaptation on the board, engine and processor; None: any.
        board: where the network adapts.
        epochs: passes over the samples.
        batch: images of a mini-batch (default: up to ten, fewer where memory is short).
        optimizer: SGD for all rungs (default: each with a rate of its own).
        rungs: those that are tried: see :data:`LADDER`.
        seed: of adapters, orders and what is held out.
        class_names: names of all classes, where the labels are names.
        progress: print all that.

    Raises:
        BadInput: samples of one class alone, or fewer than classes; a budget that is no number.
        DoesNotFit: no rung fits the budget; the text says what the cheapest needs.
    """
    if class_names is None and isinstance(model, Learner):
        class_names = model.class_names or None
    settings = Settings(board, epochs, batch, optimizer, seed, class_names)
    found = study(model, x, y, Budget.of(memory, seconds), settings, rungs=rungs,
                  progress=progress)
    if progress:
        _say(found.text())
    return adapted(model, x, y, found, settings, progress=progress)


def adapted(model: Model | Learner, x: Any, y: Any, found: Study, settings: Settings, *,
            progress: bool = False) -> Learner:
    """Return a learner of the rung that a study has taken, trained on all samples.

    Args:
        model, x, y, settings: as for the study.
        found: the study.
        progress: show a progress bar.
    """
    own = found.taken
    learner = settings.learner(settings.network(model_of(model), own.name), own.batch)
    learner.fit(x, y, epochs=settings.epochs, progress=progress, cache=own.cached)
    return learner


def _planned(model: Model, name: str, budget: Budget, settings: Settings, samples: int, most: int,
             networks: dict[str, Candidate]) -> Rung:
    """Return what a rung needs, with the largest mini-batch that the memory allows.

    ``most``: samples of the smallest part that is trained on; ``networks`` takes the network of the
    rung. A rung that does not fit says why.
    """
    try:
        network = networks[name] = settings.network(model, name)
    except PynqTrainError as error:
        return Rung(name, str(error))
    rung = Rung(name)
    for batch in [settings.batch] if settings.batch is not None else _sizes(min(BATCH, most)):
        try:
            learner = settings.learner(network, batch)
        except PynqTrainError as error:
            if rung.batch == 0:
                rung = Rung(name, str(error))
            continue
        rung = _cheaper(learner, network, budget, settings.epochs, samples)
        if _fits(rung, budget) or (budget.seconds is not None and rung.seconds > budget.seconds):
            break  # a smaller mini-batch takes no less time
    return rung


def _cheaper(learner: Learner, network: Candidate, budget: Budget, epochs: int, samples: int
             ) -> Rung:
    """Return what a rung needs, with a cache or without: the faster way of those with memory."""
    def way(plan: Plan) -> Rung:
        course = course_of(plan, samples, epochs * (samples // plan.batch))
        kinds = plan.memory.bytes_by_kind()
        if course.cache_bytes:
            kinds = {**kinds, "cache": course.cache_bytes}
        nbytes = plan.memory.nbytes + course.cache_bytes
        return Rung(network.rung, budget.exceeded(nbytes, course.seconds), plan.batch, nbytes,
                    kinds, course, note=network.note)

    ways = [way(learner.plan)]
    if epochs > 1:  # one pass is over when the cache is full
        with suppress(BadInput):
            ways.append(way(learner.plan_cache()))
    return min([one for one in ways if _fits(one, budget)] or ways[:1],
               key=lambda one: one.seconds)


def _fits(rung: Rung, budget: Budget) -> bool:
    """Return whether there is memory for a rung."""
    return budget.memory is None or rung.nbytes <= budget.memory


def _sizes(most: int) -> list[int]:
    """Return mini-batches that are tried: half as large each, down to :data:`LEAST_BATCH`."""
    sizes = [most]
    while sizes[-1] // 2 >= LEAST_BATCH:
        sizes.append(sizes[-1] // 2)
    return sizes


def _nothing_fits(planned: Sequence[Rung], budget: Budget) -> DoesNotFit:
    """Return the error where no rung fits; it says what the cheapest ones need."""
    known = [rung for rung in planned if rung.batch]
    if not known:
        return DoesNotFit("adaptation", expected=f"a rung that runs here, within {budget}",
                          found="; ".join(f"{rung.name}: {rung.why}" for rung in planned))
    small = min(known, key=lambda rung: rung.nbytes)
    fast = min(known, key=lambda rung: rung.seconds)
    needs = [f"{small.name} {small.nbytes} bytes and {small.seconds:.3g} s with a mini-batch of "
             f"{small.batch}"]
    if fast is not small:
        needs.append(f"{fast.name} {fast.nbytes} bytes and {fast.seconds:.3g} s with one of "
                     f"{fast.batch}")
    return DoesNotFit("adaptation", expected=f"a rung within {budget}",
                      found="none: the cheapest need " + ", ".join(needs),
                      fix="allow more, take fewer epochs, or a smaller network")


def _before(model: Model, x: Any, y: NDArray[Any], pairs: Sequence[Any], settings: Settings
            ) -> float:
    """Return the accuracy of a network as it is, on all samples that are held out."""
    held = np.concatenate([own for _, own in pairs])
    network = settings.network(model, "last-layer")
    with settings.learner(network, min(BATCH, len(held)), _TRIALS) as learner:
        return learner.evaluate(x[held], y[held]).accuracy


def _tried(network: Candidate, x: Any, y: NDArray[Any], pairs: Sequence[Any], rung: Rung,
           settings: Settings) -> Rung:
    """Return a rung with its accuracy and loss on the samples that were held out."""
    correct = loss = count = 0.0
    with settings.learner(network, rung.batch, _TRIALS) as learner:
        start, form = learner.params, learner.input_format
        for train, held in pairs:
            # As a new learner would begin, which would have to plan again.
            learner.set_params(start)
            learner.state, learner.input_format = TrainState(), form
            with warnings.catch_warnings():
                # What a trial is warned of, its accuracy says.
                warnings.simplefilter("ignore", TrainingWarning)
                learner.fit(x[train], y[train], epochs=settings.epochs, progress=False,
                            cache=rung.cached)
            result = learner.evaluate(x[held], y[held])
            correct += result.accuracy * len(held)
            loss += result.loss * len(held)
            count += len(held)
    return replace(rung, accuracy=correct / count, loss=loss / count)


def _judged(rung: Rung, best: Rung) -> Rung:
    """Return a rung with why it was taken or refused."""
    if rung.name == best.name:
        return replace(best, taken=True, why="the most accurate of those that fit")
    if rung.accuracy is None or best.accuracy is None:
        return replace(rung, why=f"refused: {rung.why}")
    lost = best.accuracy - rung.accuracy
    why = (f"refused: {100 * lost:.1f} points below {best.name}" if lost > 0
           else f"refused: as accurate as {best.name}, with a larger loss")
    return replace(rung, why=why)


def _say(text: str) -> None:
    """Print above any progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
