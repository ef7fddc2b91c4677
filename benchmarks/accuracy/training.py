"""Training of a pair: fixed point on a backend, its float32 twin, and what both share before."""
# ruff: noqa: T201

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import pynq_train as pt
from benchmarks.accuracy import store
from benchmarks.accuracy.store import FIXED, FLOAT, SHARED, Run
from benchmarks.accuracy.tasks import Array, Recipe, Samples, network, samples
from pynq_train.data import batches
from pynq_train.errors import BadInput, MissingTool
from pynq_train.files import write_atomic
from pynq_train.graph import Graph, LayerParams
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat
from pynq_train.layers import init_params
from pynq_train.layers.supported import MASTER_RANGE
from pynq_train.run.trainer import StepOutcome
from pynq_train.train.images import ImageSource, measure_normalisation
from pynq_train.train.learner_view import LearnerView

Params = dict[str, LayerParams]
_FIELDS = ("weight", "bias", "mean", "variance")
SAVE_STEPS = 40
"""Steps from one checkpoint of a fixed-point training to the next: some minutes at most."""


class Interrupted(Exception):
    """Ctrl-C; what is done so far is kept."""


class Pair:
    """One seed of a task.

    Args:
        task: name of the task; results go to its file.
        recipe: its recipe.
        seed: of start weights, chosen images and their order.
        data: folder of the data sets.
        work: folder of checkpoints and shared weights of trainings under way.
        results: folder of results.
    """

    def __init__(self, task: str, recipe: Recipe, seed: int, data: Path, work: Path,
                 results: Path = store.FOLDER) -> None:
        self.task, self.recipe, self.seed = task, recipe, seed
        self._data, self._results = data, results
        of_recipe = hashlib.sha256(json.dumps(asdict(recipe)).encode()).hexdigest()[:8]
        self._stem = f"{task}-{seed}-{of_recipe}"
        self._work = work
        self._graph = network(recipe.net)

    def run(self, board: str = "golden") -> None:
        """Train what is not stored yet, and store each training when it ends.

        Raises:
            Interrupted: by Ctrl-C. Called again, it goes on where it was.
        """
        found = store.read(self.task, self.recipe, self._results).get(self.seed, {})
        if FIXED in found and FLOAT in found:
            return
        self._work.mkdir(parents=True, exist_ok=True)
        train, test = samples(self.recipe, self._data, self.seed)
        form = self._format(train[0])
        try:
            start = self._shared(found, train, test, form) if self.recipe.float_epochs else None
            if FIXED not in found:
                self._store(FIXED, self._fixed(start, train, test, form, board))
                self._file("safetensors").unlink()
            if FLOAT not in found:
                self._store(FLOAT, self._float(start, train, test, form))
        except KeyboardInterrupt:
            raise Interrupted from None
        self._file("npz").unlink(missing_ok=True)

    def _format(self, x: Array) -> ImageFormat:
        """Return what the network takes: pixels are normalised, floats have been already."""
        if x.dtype != np.uint8:
            return ANY_IMAGES
        return ImageFormat((0, 1), measure_normalisation(x, self._graph.input_shape, ANY_IMAGES))

    def _optimizer(self) -> pt.SGD:
        """Return the optimizer of both arithmetics: behind a shared part, the end of its line."""
        recipe = self.recipe
        first = pt.SGD(lr=recipe.last_rate, momentum=recipe.momentum, schedule=recipe.schedule,
                       weight_decay=recipe.weight_decay)
        return replace(first, warmup_steps=0) if recipe.float_epochs else first

    def _fixed(self, start: Params | None, train: Samples, test: Samples, form: ImageFormat,
               board: str) -> Run:
        """Train in fixed point; an interrupted training goes on from its checkpoint."""
        path, cpu = self._file("safetensors"), CpuTime()
        if path.exists():
            learner = pt.load(path, board=board)
        else:
            model = self._graph if start is None else pt.Model(self._graph, start)
            norm = form.normalisation
            learner = pt.Learner(model, board=board, optimizer=self._optimizer(),
                                 batch=self.recipe.batch, seed=self.seed,
                                 input_range=form.input_range, mean=norm.mean if norm else None,
                                 std=norm.std if norm else None)
        with learner:
            if not path.exists() or learner.state.run is not None:
                learner.fit(*train, epochs=self.recipe.epochs, validation_data=test,
                            progress=False, resume=path.exists(), callbacks=[cpu],
                            checkpoint=path, checkpoint_every=SAVE_STEPS)
            if learner.history.interrupted:
                raise Interrupted
            # Killed between its end and the storing of its result: the seconds are lost.
            return _run_of(learner.history, cpu.seconds or None)

    def _float(self, start: Params | None, train: Samples, test: Samples, form: ImageFormat
               ) -> Run:
        """Train the float32 twin."""
        began = time.process_time()
        history = pt.fit_float(
            self._graph, *train, epochs=self.recipe.epochs, optimizer=self._optimizer(),
            batch=self.recipe.batch, seed=self.seed, validation_data=test,
            input_range=form.input_range, normalisation=form.normalisation, params=start)
        return _run_of(history, time.process_time() - began)

    def _shared(self, found: store.Pair, train: Samples, test: Samples, form: ImageFormat
                ) -> Params:
        """Return the weights that both arithmetics begin with.

        They are kept until the pair is complete. Where they are lost they are trained anew, and
        so is an arithmetic that began with others (another machine rounds differently).
        """
        path = self._file("npz")
        if path.exists() and SHARED in found:
            with np.load(path) as arrays:
                params = from_arrays(arrays)
            if weights_hash(params) == found[SHARED].weights:
                return params
        began = time.process_time()
        params, accuracy = shared_training(self._graph, self.recipe, self.seed, train, test,
                                           form)
        run = Run((round(accuracy, 5),), round(time.process_time() - began, 1),
                  weights_hash(params))
        if SHARED not in found or found[SHARED].weights != run.weights:
            found.clear()
            self._file("safetensors").unlink(missing_ok=True)
        file = io.BytesIO()
        np.savez(file, **to_arrays(params))
        write_atomic(path, file.getvalue())
        self._store(SHARED, run)
        return params

    def _store(self, kind: str, run: Run) -> None:
        store.add(self.task, self.recipe, self.seed, kind, run, self._results)
        curve = " ".join(f"{100 * value:.2f}" for value in run.accuracy)
        print(f"{self.task} seed {self.seed} {kind}: {curve} % ({run.cpu_seconds} s)", flush=True)

    def _file(self, kind: str) -> Path:
        return self._work / f"{self._stem}.{kind}"


class CpuTime(pt.callbacks.Callback):
    """Counts CPU seconds of a training over its interruptions; part of its checkpoints."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = time.process_time()

    def _count(self) -> None:
        now = time.process_time()
        self.seconds, self._since = self.seconds + now - self._since, now

    def on_step(self, learner: LearnerView, outcome: StepOutcome) -> None:
        """Count the step."""
        self._count()

    def on_end(self, learner: LearnerView) -> None:
        """Count the last evaluation."""
        self._count()

    def state(self) -> dict[str, Any]:
        """Return the seconds so far."""
        return {"seconds": self.seconds}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from saved seconds."""
        self.seconds = float(state["seconds"])


def shared_training(graph: Graph, recipe: Recipe, seed: int, train: Samples, test: Samples,
                    form: ImageFormat) -> tuple[Params, float]:
    """Train a network in float32 with PyTorch up to where the arithmetics part.

    The rate rises over 50 steps and then falls on the line that ends in zero behind the last
    epoch of the arithmetics. Weights stay within what the engine's masters hold, as they do there.

    Returns:
        The parameters, and their accuracy on the test set (0..1).

    Raises:
        MissingTool: PyTorch is not installed.
    """
    (params,), (accuracy,) = float_training([(graph, "")], recipe, seed, train, test, form)
    return params, accuracy


def float_training(networks: Sequence[tuple[Graph, str]], recipe: Recipe, seed: int,
                   train: Samples, test: Samples, form: ImageFormat
                   ) -> tuple[list[Params], list[float]]:
    """Train networks as :func:`shared_training` does, each on a map of the one before it.

    No gradient goes from a network to the one before it.

    Args:
        networks: each with the operation whose map the next one reads; the last one's is not read.
        recipe, seed, train, test, form: as of :func:`shared_training`.

    Returns:
        By network: the parameters, and their accuracy on the test set (0..1).

    Raises:
        MissingTool: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingTool("PyTorch (package torch): the shared part of a pair is trained with it",
                          fix="make torch") from None
    from torch.nn import functional

    from benchmarks import torch_graph

    torch.set_num_threads(1)
    left = recipe.epochs / (recipe.epochs + recipe.float_epochs)
    sgd = pt.SGD(lr=recipe.lr, schedule=pt.schedules.Linear(end=left))
    first = networks[0][0]
    images, labels = ImageSource(train[0], first.input_shape, form), train[1].astype(np.int64)
    tensors = [torch_graph.tensors_of(init_params(graph, seed), torch.float32)
               for graph, _ in networks]
    optimizers, learned = [], []
    for own in tensors:
        groups: dict[bool, list[torch.Tensor]] = {True: [], False: []}  # True: with weight decay
        for (name, field), tensor in own.items():
            if tensor.requires_grad:
                groups[field == "weight" and (name, "mean") not in own].append(tensor)
        decays: list[dict[str, Any]] = [
            {"params": group, "weight_decay": recipe.weight_decay if decayed else 0.0}
            for decayed, group in groups.items()]
        optimizers.append(torch.optim.SGD(decays, lr=recipe.lr, momentum=recipe.momentum))
        learned += [tensor for group in groups.values() for tensor in group]
    total, step = len(labels) // recipe.batch * recipe.float_epochs, 0
    for epoch in range(recipe.float_epochs):
        for index in batches(len(labels), recipe.batch, seed, epoch, drop_last=True):
            x = torch.from_numpy(images.take(index))
            for (graph, after), own, optimizer in zip(networks, tensors, optimizers):
                for group in optimizer.param_groups:
                    group["lr"] = sgd.rate(step, total)
                optimizer.zero_grad()
                made = torch_graph.outputs(graph, own, x, True, seed, step)
                functional.cross_entropy(made[graph.ops[-1].name].flatten(1),
                                         torch.from_numpy(labels[index])).backward()
                optimizer.step()
                x = made[after].detach() if after else x
            with torch.no_grad():
                for tensor in learned:
                    tensor.clamp_(-MASTER_RANGE, MASTER_RANGE)
            step += 1
    shown, at = ImageSource(test[0], first.input_shape, form), 0
    right = [0] * len(networks)
    with torch.no_grad():
        for chunk in shown.chunks():
            x = torch.from_numpy(chunk)
            for number, ((graph, after), own) in enumerate(zip(networks, tensors)):
                made = torch_graph.outputs(graph, own, x, False)
                logits = made[graph.ops[-1].name].flatten(1)
                right[number] += int((logits.numpy().argmax(1) == test[1][at:at + len(x)]).sum())
                x = made[after] if after else x
            at += len(chunk)
    return [torch_graph.params_of(own) for own in tensors], [count / at for count in right]


def weights_hash(params: Mapping[str, LayerParams]) -> str:
    """Return the SHA-256 of parameters: names and float32 values."""
    digest = hashlib.sha256()
    for name, array in sorted(to_arrays(params).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def to_arrays(params: Mapping[str, LayerParams]) -> dict[str, Any]:
    """Return parameters as arrays named ``layer.field``."""
    return {f"{name}.{field}": getattr(own, field) for name, own in params.items()
            for field in _FIELDS if getattr(own, field) is not None}


def from_arrays(arrays: Mapping[str, Any]) -> Params:
    """Return parameters from such arrays."""
    fields: dict[str, dict[str, Any]] = {}
    for key in arrays:
        name, _, field = key.rpartition(".")
        if field not in _FIELDS:
            raise BadInput("shared weights", expected=f"arrays named LAYER.{'|'.join(_FIELDS)}",
                           found=key, fix="delete the file: they are trained anew")
        fields.setdefault(name, {})[field] = arrays[key]
    return {name: LayerParams(own["weight"], own.get("bias"), own.get("mean"), own.get("variance"))
            for name, own in fields.items()}


def _run_of(history: pt.History, seconds: float | None) -> Run:
    """Return what is stored of a training."""
    return Run(tuple(round(epoch.val_accuracy or 0.0, 5) for epoch in history.epochs),
               None if seconds is None else round(seconds, 1))
