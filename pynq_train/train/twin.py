"""The float32 twin: the same network, seed, batches and learning rates, in NumPy."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pynq_train.data import batches
from pynq_train.errors import BadInput
from pynq_train.graph import BatchNorm, Graph, Model
from pynq_train.graph.graph import check_graph
from pynq_train.graph.image_format import ImageFormat, Normalisation
from pynq_train.graph.params import LayerParams
from pynq_train.graph.reference import FloatTrainer, Loss
from pynq_train.layers import fuse, init_params
from pynq_train.layers.backward_graph import active_layers, inference_mode_norms
from pynq_train.schedule.specs.trainable import TrainableChoice, plain_choice, select
from pynq_train.train.arguments import check_count, check_given, check_pair
from pynq_train.train.callbacks import EpochFunction, as_functions, is_true
from pynq_train.train.class_names import ClassNames
from pynq_train.train.history import Evaluation, History, Tally
from pynq_train.train.images import ImageSource, check_outliers
from pynq_train.train.optimizer import SGD, check_optimizer
from pynq_train.train.rate_line import say_rate
from pynq_train.train.schedules import whole
from pynq_train.train.start import is_rung, start_of
from pynq_train.train.state import MOST_COUNT
from pynq_train.train.targets import Ends, Task, with_numbers, without_sigmoid
from pynq_train.train.watch import LossWatch, check_classes, check_rate, check_values


def fit_float(graph: Graph, x: Any, y: Any, *, epochs: int = 1, optimizer: SGD | None = None,
              batch: int = 32, seed: int = 0, validation_data: tuple[Any, Any] | None = None,
              normalisation: Normalisation | None = None,
              input_range: tuple[float, float] | None = None, progress: bool = False,
              callbacks: Sequence[EpochFunction] = (),
              params: Mapping[str, LayerParams] | None = None,
              trainable: TrainableChoice = "all", epochs_before: int = 0,
              loss: Loss = "cross-entropy", label_smoothing: float = 0.0,
              accumulate: int = 1, validation_every: int = 1,
              class_weights: Sequence[float] | None = None, ignore_index: int | None = None,
              huber_delta: float = 1.0) -> History:
    """Train in float32 what ``Learner(graph, batch=batch, seed=seed).fit(...)`` trains on a board.

    Networks may have branches and operations that the engine does not run. Normalisations below
    the lowest trainable layer keep and use their running statistics.

    Args:
        graph: the network.
        x, y: images and labels, as for :meth:`Learner.fit`.
        epochs, optimizer, batch, seed, validation_data: as for the learner.
        normalisation: that of the learner, ``learner.normalisation``.
        input_range: that of the learner, where one was given.
        progress: show a progress bar.
        callbacks: functions that are called with the result of each epoch; one that returns True
            ends the training.
        params: start weights by layer name (default: those of the seed).
        trainable: what is trained, as for the learner.
        epochs_before: epochs that the learner has behind it (``learner.state.epochs``); they name
            the order of the images.
        loss, label_smoothing, accumulate, class_weights, ignore_index, huber_delta: as for the
            learner.
        validation_every: epochs from one validation to the next; there is one behind the last.

    Returns:
        The history; its last epoch holds the validation accuracy to compare with.

    Raises:
        BadInput: the optimizer clips: what it bounds is a matter of fixed-point ranges. Or data or
            options that a learner refuses.
    """
    from tqdm import tqdm

    whole("epochs", epochs, 1)
    whole("batch", batch, 1)
    whole("validation_every", validation_every, 1)
    optimizer = SGD() if optimizer is None else check_optimizer(optimizer)
    called = as_functions(callbacks)
    check_graph(graph)
    graph = without_sigmoid(graph, loss)
    whole("seed", seed, -MOST_COUNT, MOST_COUNT)
    whole("epochs_before", epochs_before, 0, MOST_COUNT)
    trainable = plain_choice(trainable)
    if is_rung(trainable):
        begun = start_of(graph if params is None else Model(graph, params), trainable, seed)
        graph, params, trainable = begun.graph, begun.params, begun.trainable
    if normalisation is not None and not isinstance(normalisation, Normalisation):
        raise BadInput("normalisation", expected="that of a learner (learner.normalisation)",
                       found=type(normalisation).__name__)
    form = replace(ImageFormat.make(graph.input_shape[0], input_range),
                   normalisation=normalisation)
    source = ImageSource(x, graph.input_shape, form)
    ends = _ends(graph, y, loss, label_smoothing, class_weights, ignore_index, huber_delta, batch)
    labels, names = ends.checked(y, len(source), form, ClassNames(), learn=True)
    if optimizer.clip is not None:
        raise BadInput("fit_float: clip", expected="None: it follows from measured ranges of "
                       "fixed-point tensors", found=optimizer.clip)
    whole("accumulate", accumulate, 1)
    warned: set[str] = set()
    check_classes(labels, ends.loss, warned, names.names)
    check_outliers(source, warned)
    check_values(_measuring_norms(graph, trainable), batch, warned)
    batch *= accumulate
    check_count(len(source), batch, accumulate=1)
    start = init_params(graph, seed) if params is None else check_given(params)
    if validation_data is not None:
        check_pair("validation_data", validation_data)
    trainer = FloatTrainer(_with_frozen_norms(graph, trainable), start, optimizer.lr,
                           optimizer.momentum, optimizer.weight_decay, loss, label_smoothing, seed,
                           optimizer.nesterov, ends.task.weights, ignore_index, huber_delta)
    trainer.steps = epochs_before * (len(source) // batch) * accumulate  # they draw dropouts
    factors = _factors(graph, list(start), optimizer, trainable)
    total = len(source) // batch * epochs
    check_rate(optimizer, any(map(any, factors.values())), warned)
    say_rate(optimizer, total, accumulate=1, begins=True, progress=progress, warned=warned)
    watch = LossWatch(ends.loss, labels, f"SGD(lr={optimizer.lr:g})", warned)
    history = History()
    step = 0
    with tqdm(total=total, desc="float32", disable=not progress, unit="step") as bar:
        for epoch in range(epochs):
            began, tally = time.monotonic(), Tally()
            for index in batches(len(source), batch, seed, epochs_before + epoch, drop_last=True):
                result = trainer.step(source.take(index), labels[index],
                                      optimizer.rate(step, total), factors, accumulate)
                step += 1
                tally.add(result.loss * result.images, result.correct, result.images,
                          answers=result.answers)
                history.batch_losses.append(result.loss)
                watch.step(history.batch_losses)
                bar.update(1)
            validation = None
            due = (epoch + 1) % validation_every == 0 or epoch + 1 == epochs
            if validation_data is not None and due:
                validation = _evaluate(trainer, ends, validation_data, form, names)
            watch.epoch(history.batch_losses)
            tally.seconds = time.monotonic() - began
            history.epochs.append(tally.result(epoch + 1, validation))
            ended = [is_true(function(history.epochs[-1])) for function in called]
            if any(ended):  # all have seen the epoch first
                break
    watch.end(history.batch_losses)
    return history


def _measuring_norms(graph: Graph, trainable: TrainableChoice) -> list[tuple[str, int]]:
    """Return name, and pixels of a channel, of the normalisations that measure in training."""
    return [(op.name, math.prod(shape[1:])) for op, shape in zip(
        _with_frozen_norms(graph, trainable).ops, graph.shapes)
        if isinstance(op, BatchNorm) and not op.frozen]


def _with_frozen_norms(graph: Graph, trainable: TrainableChoice) -> Graph:
    """Return the graph with its normalisations below the lowest trainable layer frozen."""
    if trainable == "all":
        return graph
    layers = fuse(graph)
    trained = [one.anything for one in select(layers, trainable)]
    frozen = inference_mode_norms(layers, trained, active_layers(layers, trained))
    inference_mode = {layer.name for layer, is_frozen in zip(layers, frozen) if is_frozen}
    return replace(graph, ops=tuple(
        replace(op, frozen=True) if isinstance(op, BatchNorm) and op.name in inference_mode else op
        for op in graph.ops))


def _factors(graph: Graph, names: list[str], optimizer: SGD,
             trainable: TrainableChoice) -> dict[str, tuple[float | None, float | None]]:
    """Return factors of the rates of weights and bias by name, None for what is frozen."""
    rates: dict[str, tuple[float | None, float | None]] = dict(
        zip(names, optimizer.factors(names)))
    if trainable == "all":
        return rates
    layers = fuse(graph)
    for layer, trained in zip(layers, select(layers, trainable)):
        if not layer.has_parameters:
            continue
        of_weight, of_bias = rates[layer.name]
        rates[layer.name] = (of_weight if trained.weights else None,
                             of_bias if trained.bias else None)
    return rates


def _ends(graph: Graph, y: Any, loss: str, smoothing: float, weights: Sequence[float] | None,
          ignore: int | None, delta: float, batch: int) -> Ends:
    """Return the end of a network that may have parts which no engine runs, with its targets."""
    channels, rows, cols = graph.output_shape
    task = Task.of_shape(graph.output_shape, True, loss, smoothing, weights, ignore, delta)
    aside = rows * cols > 1 or channels == 1
    ends = Ends(task, task.loss_of(graph.output_shape, aside, batch), graph.output_shape,
                graph.input_shape)
    if ends.wants_numbers(y):
        task = with_numbers(task)
        ends = replace(ends, task=task, loss=task.loss_of(graph.output_shape, aside, batch))
    return ends


def _evaluate(trainer: FloatTrainer, ends: Ends, data: tuple[Any, Any], form: ImageFormat,
              names: ClassNames) -> Evaluation:
    source = ImageSource(data[0], ends.input_shape, form)
    labels, _ = ends.checked(data[1], len(source), form, names)
    loss, correct, at = 0.0, 0.0, 0
    for chunk in source.chunks():
        part = labels[at : at + len(chunk)]
        mean, accuracy = trainer.evaluate(chunk, part)
        loss, correct, at = loss + mean * len(part), correct + accuracy * len(part), at + len(part)
    return Evaluation(loss / at, correct / at)
