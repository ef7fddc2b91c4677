"""The commands train, evaluate, compile and verify."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import pynq_train as pt
from pynq_train.backends.names import board_of
from pynq_train.check import Coverage, VerifyReport, random_net, with_random_end
from pynq_train.data import Dataset, Splits
from pynq_train.errors import BadInput, Mismatch, UnknownName
from pynq_train.files import write_atomic
from pynq_train.graph import Graph
from pynq_train.quant.loss import CROSS_ENTROPY
from pynq_train.run.failure import advice
from pynq_train.rungs import given
from pynq_train.schedule.specs.trainable import TrainableChoice
from pynq_train.train.history import percent

DIGITS = "digits"
RANDOM = "random"
INTERRUPTED = 130
DEFAULT_BATCH, VERIFY_BATCH = 32, 4
"""Mini-batches of ``train`` for a new learner, and of ``verify``."""
CALIBRATION_IMAGES = 256
"""Training images, at most, from which an imported network takes its ranges."""


def train(options: argparse.Namespace) -> int:
    """Run ``pynq-train train``: train, print epochs, save; return the exit code."""
    data = load_data(options.data)
    if data.train.y is None:
        raise BadInput(f"data file {options.data!r}", expected="labels 'y'", found="images only")
    learner = _learner(options, data)
    data = named(data, learner, options)
    out = options.out or _default_out(options.model)
    if not out.parent.is_dir():
        raise BadInput(f"folder {str(out.parent)!r} does not exist",
                       fix="create it, or choose another --out")
    validation = None
    if data.test is not None and data.test.y is not None:
        validation = data.test.x, data.test.y
    with learner:
        print(f"{learner.graph.name} on {options.board}: {len(data.train)} images, "
              f"mini-batch {learner.batch}, {options.epochs} epochs", flush=True)
        history = learner.fit(data.train.x, data.train.y, epochs=options.epochs,
                              validation_data=validation, progress=not options.no_progress,
                              resume=options.resume, callbacks=[print_epoch], checkpoint=out,
                              checkpoint_every=options.checkpoint_every, cache=options.cache)
        if options.report:
            learner.report(options.report)
    print(f"saved {out} after {learner.steps} steps")
    if history.interrupted:
        print("interrupted: go on with "
              f"'pynq-train train --model {out} --data {options.data} --resume'")
        return INTERRUPTED
    return 0


def compile_model(options: argparse.Namespace) -> int:
    """Run ``pynq-train compile``: plan, verify the programs, save them with the model."""
    name = options.model
    if is_onnx(name) or name in pt.zoo.names():
        learner = pt.Learner(pt.from_onnx(name) if is_onnx(name) else name, board=options.board,
                             batch=options.batch or DEFAULT_BATCH)
    elif is_file_name(name):
        learner = pt.Learner.load(name, board=options.board, batch=options.batch, compiled=False)
    else:
        raise UnknownName.among("network", name, pt.zoo.names())
    out = options.out or _default_out(name)
    learner.compile()
    learner.save(out)
    print(f"saved {out}: {learner.graph.name} for {board_of(options.board).name}, "
          f"mini-batch {learner.batch}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Run ``pynq-train evaluate``: print loss and accuracy on the test images, else on all."""
    data = load_data(options.data)
    images = data.test if data.test is not None else data.train
    if images.y is None:
        raise BadInput(f"data file {options.data!r}", expected="labels 'y'", found="images only")
    given = image_options(options)
    learner = (pt.Learner(pt.from_onnx(options.model, **given), board=options.board)
               if is_onnx(options.model)
               else pt.Learner.load(options.model, board=options.board, **given))
    data = named(data, learner, options)
    images = data.train if data.test is None else data.test
    with learner:
        calibrate(learner, data)
        result = learner.evaluate(images.x, images.y)
        taken = str(learner.input_format)
    again = f", {result.again} images run again with wider ranges" if result.again else ""
    print(f"{len(images)} images: loss {result.loss:.4f}{percent(result.accuracy, 2)}{again}")
    if result.class_names or result.figures:
        print(result.text())
    if options.json:
        write_json(options.json, {
            "images": len(images), "loss": result.loss,
            "accuracy": number(result.accuracy), **result.figures,
            "again": result.again, "input_format": taken,
            "classes": {name: {"images": count, "right": right}
                        for name, (count, right) in result.by_class().items()}})
    return 0


def verify(options: argparse.Namespace) -> int:
    """Run ``pynq-train verify``: golden against a board, one network or many random ones.

    Raises:
        Mismatch: the memory images differ.
    """
    reports: list[VerifyReport] = []
    coverage = Coverage()
    show = tqdm(total=None, unit="descriptor", desc="verify", dynamic_ncols=True)
    with show as bar:
        for graph, batch, seed, trainable in cases(options):
            report = pt.verify(graph, batch=batch, steps=options.steps, board=options.board,
                               seed=seed, progress=bar.update, stalls=options.stalls,
                               trainable=trainable)
            reports.append(report)
            coverage.merge(report.coverage)
            if options.seeds > 1:
                bar.set_postfix_str(f"{len(reports)}/{options.seeds} networks")
            if report.first is not None:
                break
    _print_reports(reports, coverage, options)
    if options.json:
        write_json(options.json, _verify_json(reports, coverage, options))
    failed = reports[-1]
    if failed.first is not None:
        raise Mismatch(f"{failed.net} (seed {failed.seed}) {failed.first.text()}",
                       fix=advice(failed.saved) or None)
    return 0


def load_data(name: str) -> Splits:
    """Return the images of .npz or .npy files; scikit-learn's digits for the name ``digits``."""
    return pt.load_digits() if name == DIGITS else pt.load_data(name)


def given_names(data: Splits, options: argparse.Namespace) -> tuple[str, ...]:
    """Return the names of all classes that the command line or the data file has."""
    if options.class_names is None:
        return data.class_names
    return tuple(name.strip() for name in options.class_names.split(","))


def named(data: Splits, learner: pt.Learner, options: argparse.Namespace) -> Splits:
    """Let a learner know the names of its classes; return the data with names as labels.

    A learner that has names keeps them: the file's labels are matched by name, whatever their
    numbers are.

    Raises:
        BadInput: not as many names as the network has classes.
    """
    names = given_names(data, options)
    if not names:
        return data
    if not learner.class_names:
        learner.class_names = names

    def matched(part: Dataset | None) -> Dataset | None:
        if part is None or part.y is None or part.y.dtype.kind == "U" or (
                part.y.ndim > 1 or part.y.dtype.kind == "f"):
            return part
        if part.y.max() >= len(names):
            raise BadInput("labels", expected=f"classes of the {len(names)} that have names",
                           found=part.y.max(), fix="name all classes")
        return replace(part, y=np.array(names)[part.y])

    train = matched(data.train)
    assert train is not None
    return replace(data, train=train, test=matched(data.test))


def network(name: str) -> Graph:
    """Return a network of the zoo, or that of a saved model or an ONNX file.

    Raises:
        UnknownName: neither a name of the zoo nor a file's.
    """
    if name in pt.zoo.names():
        return pt.zoo.get(name)
    if is_file_name(name):
        return pt.load(name).graph
    raise UnknownName.among("network", name, pt.zoo.names())


def saved_and_data(options: argparse.Namespace, ending: str) -> tuple[Splits, Path]:
    """Return the data of ``--data`` and the file to write for a trained network ``--model``.

    Without ``--out`` it stands beside the model, ``ending`` behind its name.

    Raises:
        BadInput: the model is no file, the data have no labels, or ``--out`` has no folder.
    """
    if not is_file_name(options.model):
        raise BadInput(f"model {options.model!r}", expected="a file that 'pynq-train train' saved",
                       found="a name", fix="train the network first")
    data = load_data(options.data)
    if data.train.y is None:
        raise BadInput(f"data file {options.data!r}", expected="labels 'y'", found="images only")
    model = Path(options.model)
    suffix = ".safetensors" if is_onnx(options.model) else model.suffix
    out: Path = options.out or model.parent / f"{model.stem}-{ending}{suffix}"
    if not out.parent.is_dir():
        raise BadInput(f"folder {str(out.parent)!r} does not exist",
                       fix="create it, or choose another --out")
    return data, out


def is_file_name(name: str) -> bool:
    """Return whether a model argument means a file and not a network of the zoo."""
    return "/" in name or name.endswith(".safetensors") or is_onnx(name) or os.path.exists(name)


def is_onnx(name: str) -> bool:
    """Return whether a model argument means an ONNX file: weights, but no training state."""
    return name.lower().endswith(".onnx")


def training_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of a learner that were given on the command line."""
    given = {"loss": options.loss, "label_smoothing": options.label_smoothing,
             "accumulate": options.accumulate, "class_weights": options.class_weights,
             "ignore_index": options.ignore_index, "huber_delta": options.huber_delta}
    return {key: value for key, value in given.items() if value is not None}


def image_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return what was said on the command line of the images that a model takes."""
    given = {name: getattr(options, name) for name in ("input_range", "mean", "std")}
    return {key: value for key, value in given.items() if value is not None}


def calibrate(learner: pt.Learner, data: Splits) -> None:
    """Take the ranges of a network that was never trained here from training images."""
    if learner.calibrated:
        return
    x = data.train.x
    chosen = np.unique(np.linspace(0, len(x) - 1, CALIBRATION_IMAGES).astype(np.int64))
    learner.calibrate(x[chosen])
    print(f"ranges of the feature maps from {len(chosen)} of {len(x)} images: "
          f"{learner.input_format}", flush=True)


def number(value: float | None) -> float | None:
    """Return a number for JSON, which has no NaN: None where there is none."""
    return None if value is None or math.isnan(value) else value


def print_epoch(epoch: pt.EpochResult) -> None:
    """Print one line for each epoch, above the progress bar: a callback of ``fit``."""
    tqdm.write(epoch.text())


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file as a whole."""
    write_atomic(path, (json.dumps(values, indent=2) + "\n").encode())


def _learner(options: argparse.Namespace, data: Splits) -> pt.Learner:
    assert data.train.y is not None
    if names := given_names(data, options):
        classes = len(names)
    elif data.train.y.dtype.kind == "U":
        classes = len(np.unique(data.train.y))
    elif data.train.y.ndim > 1 or data.train.y.dtype.kind in "fb":
        classes = math.prod(data.train.y.shape[1:])  # an output for each number
    else:
        classes = int(data.train.y.max()) + 1
    least = 2 if options.loss in (None, CROSS_ENTROPY) else 1
    given = {"lr": options.lr, "momentum": options.momentum, "weight_decay": options.weight_decay,
             "schedule": options.schedule, "warmup_steps": options.warmup_steps,
             "nesterov": options.nesterov or None}
    changes = {key: value for key, value in given.items() if value is not None}
    trainable = None if options.trainable is None else parse_trainable(options.trainable)
    more = {**training_options(options), **image_options(options)}
    if options.model in pt.zoo.names() or is_onnx(options.model):
        model = (pt.from_onnx(options.model) if is_onnx(options.model)
                 else pt.zoo.get(options.model, classes=options.classes or max(classes, least)))
        return pt.Learner(model, board=options.board, optimizer=pt.SGD(**changes),
                          batch=options.batch or DEFAULT_BATCH, seed=options.seed,
                          normalise=not is_onnx(options.model) and not {"mean", "std"} & set(more),
                          trainable="all" if trainable is None else trainable, **more)
    if not is_file_name(options.model):
        raise UnknownName.among("network", options.model, pt.zoo.names())
    learner = pt.Learner.load(options.model, board=options.board, batch=options.batch,
                              trainable=trainable, **more)
    if changes:
        # Loaded again: the plan of a learner without momentum has no room for it.
        changed = replace(learner.optimizer, **changes)
        learner = pt.Learner.load(options.model, board=options.board, batch=options.batch,
                                  optimizer=changed, trainable=trainable, **more)
    return learner


def _default_out(model: str) -> Path:
    if is_onnx(model):
        return Path(model).with_suffix(".safetensors")
    return Path(model) if is_file_name(model) else Path(f"{model}.safetensors")


def parse_trainable(text: str) -> TrainableChoice:
    """Return what is trainable, from a keyword, or names and patterns with commas between."""
    parts = names_of(text)
    return parts if len(parts) > 1 else parts[0] if parts else text


def names_of(text: str) -> tuple[str, ...]:
    """Return the names of a list with commas between."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def cases(options: argparse.Namespace) -> Iterator[tuple[Graph, int, int, TrainableChoice]]:
    """Yield network, mini-batch, seed and what is trained of each run of a verification.

    Raises:
        UnknownName: no such network.
    """
    if options.net != RANDOM:
        if options.net not in pt.zoo.names() and not is_file_name(options.net):
            raise UnknownName.among("network", options.net, (*pt.zoo.names(), RANDOM))
        graph, learning = adapted(network(options.net), options.trainable)
    for seed in range(options.seed, options.seed + options.seeds):
        if options.net == RANDOM:
            drawn = with_random_end(random_net(seed), seed)
            graph, trainable = ((drawn.graph, drawn.trainable) if options.trainable is None
                                else adapted(drawn.graph, options.trainable))
            yield graph, options.batch or drawn.batch, seed, trainable
        else:
            yield graph, options.batch or VERIFY_BATCH, seed, learning


def adapted(graph: Graph, text: str | None) -> tuple[Graph, TrainableChoice]:
    """Return a network, with adapters if ``text`` is the name of a rung, and what is trained."""
    found, trainable = given(graph, "all" if text is None else parse_trainable(text), 0)
    return found if isinstance(found, Graph) else found.graph, trainable


def _print_reports(reports: list[VerifyReport], coverage: Coverage,
                   options: argparse.Namespace) -> None:
    for report in reports if len(reports) <= 10 else []:
        print(report.text())
    if options.net == RANDOM:
        print(coverage.table())
        missing = coverage.missing()
        print(f"missing bins: {len(missing)}" + "".join(f"\n  {line}" for line in missing))
    print(f"networks: {len(reports)}, "
          f"descriptors compared: {sum(r.descriptors for r in reports)}, "
          f"bytes compared: {sum(r.bytes_compared for r in reports)}, "
          f"mismatches: {sum(r.mismatches for r in reports)}")


def _verify_json(reports: list[VerifyReport], coverage: Coverage,
                 options: argparse.Namespace) -> dict[str, Any]:
    return {
        "net": options.net, "board": options.board, "steps": options.steps,
        "networks": len(reports),
        "descriptors_compared": sum(r.descriptors for r in reports),
        "bytes_compared": sum(r.bytes_compared for r in reports),
        "mismatches": sum(r.mismatches for r in reports),
        "cycles": sum(r.cycles for r in reports),
        "coverage": {"bins": coverage.bins, "hit": coverage.hit, "missing": coverage.missing()},
        "runs": [r.to_dict() for r in reports],
    }
