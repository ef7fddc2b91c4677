"""Groups of classes, found from what a network confuses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput

Groups = tuple[tuple[int, ...], ...]
"""Class numbers of each group, in order; each class is in one group."""


def confusion_of(labels: Sequence[int] | NDArray[Any], answers: Sequence[int] | NDArray[Any],
                 classes: int) -> NDArray[np.int64]:
    """Return how often each class was taken for each other: ``[label, answer]``, int64.

    Args:
        labels: the classes, ``(n,)``.
        answers: what was answered, ``(n,)``.
        classes: how many classes there are.

    Raises:
        BadInput: not as many labels as answers, or one is out of range.
    """
    true, said = np.asarray(labels), np.asarray(answers)
    if true.shape != said.shape or true.ndim != 1:
        raise BadInput("confusion matrix", expected="as many answers as labels",
                       found=f"{said.shape} and {true.shape}")
    for values in (true, said):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise BadInput("confusion matrix", expected=f"classes 0 to {classes - 1}",
                           found=f"{values.min()} to {values.max()}")
    found = np.zeros((classes, classes), np.int64)
    np.add.at(found, (true, said), 1)
    return found


def groups_of(confusion: NDArray[np.int64], count: int, most: int | None = None) -> Groups:
    """Return groups of classes that are taken for each other.

    Classes are joined one after the other: always those two groups between whose classes there is
    most confusion in the mean; a class's answers count as parts of its images. What is confused
    stays together, so that the root need not tell it apart.

    Args:
        confusion: ``[label, answer]``, counts.
        count: how many groups.
        most: classes of a group at most (default: no limit).

    Raises:
        BadInput: it is no square matrix of counts, or the classes do not make such groups.
    """
    matrix = np.asarray(confusion)
    if (matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.kind not in "iu"
            or (matrix < 0).any()):
        raise BadInput("confusion matrix", expected="counts (classes, classes)",
                       found=f"{matrix.dtype} {matrix.shape}")
    classes = len(matrix)
    if type(count) is not int or not 1 <= count <= classes:
        raise BadInput("groups", expected=f"1 to {classes}, as there are classes",
                       found=repr(count))
    limit = classes if most is None else most
    if limit * count < classes or limit < 1:
        raise BadInput("groups", expected=f"room for {classes} classes",
                       found=f"{count} groups of at most {limit}")
    parts = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    mutual = parts + parts.T
    groups: list[tuple[int, ...]] = [(number,) for number in range(classes)]
    while len(groups) > count:
        pairs = [(float(mutual[np.ix_(one, two)].mean()), one, two)
                 for one, two in combinations(groups, 2) if len(one) + len(two) <= limit
                 and _can_go_on(groups, one, two, count, limit)]
        # Of equal ones the smaller groups, then the lower numbers: the result is always the same.
        _, one, two = min(pairs, key=lambda pair: (-pair[0], len(pair[1]) + len(pair[2]), pair[1:]))
        groups = sorted([own for own in groups if own not in (one, two)]
                        + [tuple(sorted(one + two))])
    return tuple(groups)


def _can_go_on(groups: list[tuple[int, ...]], one: tuple[int, ...], two: tuple[int, ...],
               count: int, limit: int) -> bool:
    """Return whether what two groups become leaves a way to ``count`` groups within the limit."""
    sizes = [len(own) for own in groups if own not in (one, two)] + [len(one) + len(two)]
    return _packs(tuple(sorted(sizes, reverse=True)), count, limit)


def _packs(sizes: tuple[int, ...], count: int, limit: int) -> bool:
    """Return whether some groups can be put into ``count`` groups of at most ``limit`` classes."""
    seen: set[tuple[int, tuple[int, ...]]] = set()

    def put(at: int, filled: tuple[int, ...]) -> bool:
        if at == len(sizes):
            return True
        if (at, filled) in seen:
            return False
        seen.add((at, filled))
        for place in range(count):
            if place and filled[place] == filled[place - 1]:
                continue  # the same as the place before
            if filled[place] + sizes[at] <= limit:
                after = sorted([*filled[:place], filled[place] + sizes[at], *filled[place + 1:]])
                if put(at + 1, tuple(after)):
                    return True
        return False

    return put(0, (0,) * count)
