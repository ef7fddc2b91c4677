"""Activations that a foreign network spells out: x * sigmoid(x), or 0.5 * x * (1 + erf(x / 1.41)).

There are many ways to write one: factors in any order, x / 6 or x * 0.1667, a power or a product.
So a formula is not compared with known ones: where everything that a step computes follows from one
value, element by element, its results are compared with those of each activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pynq_train.exchange.curves import with_sixth
from pynq_train.graph.activation import Activate, Relu, Relu6
from pynq_train.graph.curves import (
    SLOPE_LIMIT,
    Curve,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Reals,
    Sigmoid,
    Silu,
    Tanh,
)

MAX_STEPS = 24
"""Most steps of a formula; the longest known one has ten."""
_FAR = np.array([24, 32, 48, 64, 96, 128, 256, 1e3, 1e4, 1e5])
_NEAR = np.linspace(-16, 16, 1025)
_X: Reals = np.concatenate([-_FAR[::-1], _NEAR, _FAR])
"""Where functions are compared: bends of all activations, and far from zero."""
_ERROR = 1e-4 + 1e-5 * np.abs(_X)
"""What foreign constants may be rounded by; both forms of GELU differ by 4.7e-4 at most."""
_PLAIN: tuple[Activate | Curve, ...] = (Relu(), Relu6(), Sigmoid(), Tanh(), Silu(), HardSwish(),
                                        Gelu(), Gelu(True))
_STEP = 2.0**-5


@dataclass(frozen=True)
class Step:
    """What a foreign node computes element by element, of values and numbers.

    Attributes:
        args: what it reads: a float is a number, anything else names a value.
        compute: returns results from as many arrays of float64, of one element for numbers.
        known: it is an activation that the importer reads by itself.
    """

    args: tuple[Hashable, ...]
    compute: Callable[..., Any]
    known: bool = False


@dataclass(frozen=True)
class Formula:
    """An activation that is spelled out.

    Attributes:
        source: the value that it is of.
        op: the operation, without name.
        inner: the steps before its last one, by name.
    """

    source: Hashable
    op: Activate | Curve
    inner: tuple[Hashable, ...]


def erf(x: Reals) -> Reals:
    """Return the error function, which NumPy has not."""
    array = np.asarray(x, np.float64)
    return np.array([math.erf(one) for one in array.ravel().tolist()]).reshape(array.shape)


def formulas(steps: Mapping[Any, Step]) -> dict[Hashable, Formula]:
    """Return the activations that steps compute, by the name of their last step.

    Of steps that are within one another the last one counts; so does the source that is farthest
    before it.

    Args:
        steps: by name, in an order of computation.
    """
    place = {name: at for at, name in enumerate(steps)}
    found: dict[Hashable, Formula] = {}
    inside: set[Hashable] = set()
    for name in reversed(list(steps)):
        if name in inside:
            continue
        best: Formula | None = None
        for source, inner in _sources(name, steps, place):
            if not all(steps[one].known for one in inner):
                op = _activation(name, source, inner, steps)
                best = best if op is None else Formula(source, op, tuple(
                    one for one in inner if one != name))
        if best is not None:
            found[name] = best
            inside.update(best.inner)
    return found


def _sources(name: Hashable, steps: Mapping[Any, Step], place: Mapping[Any, int]
             ) -> Iterator[tuple[Hashable, list[Hashable]]]:
    """Yield values that a step depends on alone, nearest first, and the steps behind each."""
    front, done = {name}, list[Hashable]()
    while len(done) < MAX_STEPS:
        last = max((one for one in front if one in steps), key=place.__getitem__, default=None)
        if last is None:
            return
        front.remove(last)
        front.update(arg for arg in steps[last].args if not isinstance(arg, float))
        done.append(last)
        if len(front) == 1:
            yield next(iter(front)), done[::-1]


def _activation(name: Hashable, source: Hashable, inner: Sequence[Hashable],
                steps: Mapping[Any, Step]) -> Activate | Curve | None:
    """Return the activation that a step is of a source, None if it is none."""
    values: dict[Any, Any] = {source: _X}
    with np.errstate(all="ignore"):
        for one in sorted(inner, key=list(steps).index):
            values[one] = steps[one].compute(*(np.asarray(
                arg if isinstance(arg, float) else values[arg]) for arg in steps[one].args))
        result = np.broadcast_to(np.asarray(values[name], np.float64), _X.shape)
        some: list[Activate | Curve] = [*_PLAIN, *_fitted(result)]
        return next((op for op in some
                     if (np.abs(_values(op) - result) <= _ERROR).all()), None)


def _values(op: Activate | Curve) -> Reals:
    if isinstance(op, Curve):
        return op.value(_X)
    return np.clip(_X, op.activation.low, op.activation.top)


def _fitted(result: Reals) -> list[Curve]:
    """Return the activations with numbers that a function could be, by its values at some places.

    A slope of 1 bends nothing.
    """
    below, zero, above = (float(np.interp(at, _X, result)) for at in (-1, 0, _STEP))
    slope, alpha, rise = -below, -below / -math.expm1(-1), (above - zero) / _STEP
    made: list[Curve] = []
    if abs(slope) < SLOPE_LIMIT and abs(slope - 1) > 1e-3:
        made.append(LeakyRelu(_short(slope)))
    if 0 < abs(alpha) < SLOPE_LIMIT:
        made.append(Elu(_short(alpha)))
    if 1 / 64 <= rise < SLOPE_LIMIT and 0 <= zero <= 1:
        made.append(HardSigmoid(with_sixth(_short(rise)), _short(zero)))
    return made


def _short(value: float) -> float:
    """Return the shortest decimal of a float32: what the network's author meant."""
    return float(str(np.float32(value)))
