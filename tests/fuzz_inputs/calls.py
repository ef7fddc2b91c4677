"""Cases of arguments: what people pass by mistake, and NumPy's numbers, which are numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

import pynq_train as pt
from fuzz_inputs.case import VALUES, Bench, Case
from fuzz_inputs.files import X, Y, small


def _learner(**more: Any) -> pt.Learner:
    return pt.Learner(small(), **{"batch": 8, **more})


def _fit(**more: Any) -> None:
    _learner().fit(**{"x": X, "y": Y, "progress": False, **more})


def _sequential(**more: Any) -> pt.Graph:
    values = {"out_channels": 4, "kernel": 3, "stride": 1, "padding": 1, **more}
    return pt.Sequential((1, 8, 8)).conv(**values).relu().pool().dense(3).build()


def _whole(low: int, high: int = 1 << 62) -> Callable[[Any], bool | None]:
    """Return what tells whether a value is refused by a rule 'an integer of low to high'."""
    def refused(value: Any) -> bool:
        ok = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return not (ok and low <= value <= high)
    return refused


def _real(low: float, high: float) -> Callable[[Any], bool | None]:
    def refused(value: Any) -> bool:
        ok = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(
            value, bool)
        return not (ok and low <= value <= high)
    return refused


def _text(*known: str) -> Callable[[Any], bool | None]:
    return lambda value: not (isinstance(value, str) and value in known)


def _sides(rule: Callable[[Any], Any]) -> Callable[[Any], bool | None]:
    """A number, or rows and columns."""
    return lambda value: None if isinstance(value, (tuple, list)) else rule(value)


def _unknown(_: Any) -> None:
    return None


def _always(_: Any) -> bool:
    return True


def _unless_none(value: Any) -> bool:
    return value is not None


RULES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], bool | None]]] = {
    "Learner(batch)": (lambda v: _learner(batch=v), _whole(1, 4096)),
    "Learner(seed)": (lambda v: _learner(seed=v), _whole(-(1 << 62), 1 << 62)),
    "Learner(accumulate)": (lambda v: _learner(accumulate=v), _whole(1, 1 << 20)),
    "Learner(label_smoothing)": (lambda v: _learner(label_smoothing=v), _real(0, 0.999)),
    "Learner(loss)": (lambda v: _learner(loss=v), _text("mse", "cross-entropy")),
    "Learner(board)": (lambda v: _learner(board=v), _text("golden")),
    "Learner(trainable)": (lambda v: _learner(trainable=v), _always),
    "Learner(optimizer)": (lambda v: _learner(optimizer=v), _unless_none),
    "Learner(normalise)": (lambda v: _learner(normalise=v),
                           lambda v: not isinstance(v, (bool, np.bool_))),
    "Learner(input_range)": (lambda v: _learner(input_range=v), _unknown),
    "Learner(mean)": (lambda v: _learner(mean=v), _unknown),
    "Learner(std)": (lambda v: _learner(std=v), _unknown),
    "Learner(class_names)": (lambda v: _learner(class_names=v), _unless_none),
    "class_names =": (lambda v: setattr(_learner(), "class_names", v), _unless_none),
    "predict(names)": (lambda v: _learner(class_names=("a", "b", "c")).predict(X, names=v),
                       lambda v: v is not None and not isinstance(v, (bool, np.bool_))),
    "Learner(model)": (lambda v: pt.Learner(v), _always),
    "optimizer =": (lambda v: setattr(_learner(), "optimizer", v), _always),
    "set_params": (lambda v: _learner().set_params(v), _always),
    "fit(x)": (lambda v: _fit(x=v), _always),
    "fit(y)": (lambda v: _fit(y=v), _always),
    "fit(epochs)": (lambda v: None if type(v) is int and v > 1 else _fit(epochs=v), lambda v: (
        None if isinstance(v, int) else _whole(1)(v))),
    "fit(callbacks)": (lambda v: _fit(callbacks=v), lambda v: True if v is None else None),
    "fit(validation_data)": (lambda v: _fit(validation_data=v), _unless_none),
    "fit(checkpoint_every)": (lambda v: _fit(checkpoint_every=v), _unless_none),
    "evaluate(x)": (lambda v: _learner().evaluate(v, Y), _always),
    "evaluate(y)": (lambda v: _learner().evaluate(X, v), _always),
    "predict(x)": (lambda v: _learner().predict(v), _always),
    "SGD(lr)": (lambda v: pt.SGD(v), _real(0, 8)),
    "SGD(momentum)": (lambda v: pt.SGD(momentum=v), _real(0, 0.999)),
    "SGD(weight_decay)": (lambda v: pt.SGD(weight_decay=v), _real(0, 0.03)),
    "SGD(schedule)": (lambda v: pt.SGD(schedule=v), _unless_none),
    "SGD(warmup_steps)": (lambda v: pt.SGD(warmup_steps=v),
                          lambda v: v is not None and _whole(0)(v)),
    "SGD(layer_lr)": (lambda v: pt.SGD(layer_lr=v), lambda v: None if isinstance(
        v, dict) else True),
    "SGD(clip)": (lambda v: pt.SGD(clip=v), lambda v: None if v is None else
                  _real(2.0**-40, 2.0**20)(v)),
    "SGD(nesterov)": (lambda v: pt.SGD(nesterov=v), lambda v: not isinstance(v, bool)),
    "schedules.Linear": (lambda v: pt.schedules.Linear(end=v), _real(0, 1)),
    "schedules.Steps": (lambda v: pt.schedules.Steps(at=v), _unknown),
    "schedules.WarmUp": (lambda v: pt.schedules.WarmUp(v), _whole(0)),
    "schedules.Chain": (lambda v: pt.schedules.Chain(1, v, v), _always),
    "EarlyStopping(patience)": (lambda v: pt.callbacks.EarlyStopping(patience=v), _whole(0)),
    "EarlyStopping(monitor)": (lambda v: pt.callbacks.EarlyStopping(v), _always),
    "conv(out_channels)": (lambda v: _sequential(out_channels=v), _whole(1, (1 << 31) - 1)),
    "conv(kernel)": (lambda v: _sequential(kernel=v, padding=0), _sides(_whole(1, 7))),
    "conv(stride)": (lambda v: _sequential(stride=v), lambda v: None if isinstance(
        v, (int, np.integer, tuple, list)) else True),
    "conv(padding)": (lambda v: _sequential(padding=v), _sides(_whole(0, 2))),
    "Sequential(shape)": (lambda v: pt.Sequential(v).conv(4, 3).dense(3).build(), _always),
    "Graph.build(layers)": (lambda v: pt.Graph.build((1, 8, 8), v), _always),
    "prepare_images(x)": (lambda v: pt.prepare_images(v, (1, 8, 8)), _always),
    "prepare_images(mean)": (lambda v: pt.prepare_images(X, (1, 8, 8), mean=v), _unknown),
    "prepare_images(std)": (lambda v: pt.prepare_images(X, (1, 8, 8), std=v), _unknown),
    "save": (lambda v: _learner().save(v), lambda v: None if isinstance(v, (str, bytes)) else True),
    # Another case may have written a file of that name.
    "load": (lambda v: pt.load(v), lambda v: None if isinstance(v, (str, bytes)) else True),
    "load_npz": (lambda v: pt.load_npz(v), _always),
    "load_data": (lambda v: pt.load_data(v), _always),
    "Graph.from_dict": (lambda v: pt.Graph.from_dict(v), _always),
    "zoo.get": (lambda v: pt.zoo.get(v), _always),
    "verify(net)": (lambda v: pt.verify(v, board="golden"), _always),
}


def call(bench: Bench) -> Case:
    """A value where it does not belong."""
    name = bench.draw.choice(list(RULES))
    action, rule = RULES[name]
    value = bench.draw.choice(VALUES)
    return Case(f"{name} = {repr(value)[:40]}", lambda: action(value), rule(value))


NUMBERS: dict[str, Callable[[], Any]] = {
    "batch": lambda: _learner(batch=np.uint8(8)).fit(X, Y, progress=False),
    "seed": lambda: _learner(seed=np.int16(3)),
    "accumulate": lambda: _learner(accumulate=np.int32(2)),
    "label_smoothing": lambda: _learner(label_smoothing=np.float16(0.25)).predict(X),
    "epochs": lambda: _fit(epochs=np.int64(1)),
    "optimizer": lambda: _learner(optimizer=pt.SGD(
        np.float32(0.1), momentum=np.float64(0.5), warmup_steps=np.int8(2), clip=np.float32(1),
        weight_decay=np.float16(0), layer_lr={"conv1": np.float32(0.5)})).fit(X, Y, progress=False),
    "conv": lambda: pt.Learner(_sequential(
        out_channels=np.int64(4), kernel=np.int8(3), stride=np.uint8(1), padding=np.int16(1)),
        batch=8).fit(X, Y, progress=False),
    "dropout": lambda: pt.Learner(pt.Sequential(np.array([1, 8, 8])).conv(4, 3).norm(
        momentum=np.float32(0.1), eps=np.float64(1e-5)).relu().dropout(np.float32(0.5)).dense(
        np.int64(3)).build(), batch=8),
}


def numbers(bench: Bench) -> Case:
    """NumPy's numbers, and what is made with them saved and loaded."""
    name = bench.draw.choice(list(NUMBERS))

    def act() -> None:
        made = NUMBERS[name]()
        if isinstance(made, pt.Learner):
            made.save(bench.folder / "n.safetensors")
            pt.load(bench.folder / "n.safetensors")

    return Case(name, act, False)


def copies(bench: Bench) -> Case:
    """Copies and pickles of learners, before and behind use, say the same."""
    learner, used = _learner(seed=bench.draw.randrange(9)), bench.draw.random() < 0.7
    make = bench.draw.choice([copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])

    def act() -> None:
        if used:
            learner.fit(X, Y, progress=False)
        other = make(learner)
        for one in (learner, other):
            one.fit(X, Y, progress=False)
        assert np.array_equal(learner.logits(X), other.logits(X))

    return Case(f"used {used}", act, False)


CALLS = (call, call, call, call, numbers, copies)
