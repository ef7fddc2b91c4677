"""The tree: training, answers, visits. Root and leaves are learners, on any board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.fleet.hierarchy.groups import Groups
from pynq_train.graph import Graph, Model
from pynq_train.train import Learner


@dataclass(frozen=True)
class TreeResult:
    """What a tree has answered.

    Attributes:
        accuracy: part of the images with the right class, 0 to 1.
        root_accuracy: part of the images with the right group.
        visits: part of the images that each leaf has answered.
        images: how many images.
    """

    accuracy: float
    root_accuracy: float
    visits: tuple[float, ...]
    images: int


class Hierarchy:
    """A root that picks a group of classes, and a leaf for each group of two classes or more.

    A group of one class has no leaf: the root's answer is the class.

    Use it in a ``with`` statement, or call :meth:`close`, where the boards are wanted back.

    Args:
        groups: class numbers of each group; two groups or more, each class in one of them.
        network: returns the network for a number of outputs, with or without weights; called for
            the root with the number of groups and then for each leaf with its number of classes.
        leaf: the same for leaves (default: ``network``).
        options: what all learners are made with, such as ``board``, ``batch``, ``seed``.

    Attributes:
        groups: the groups.
        root: learner of the root.
        leaves: learner of each group, None for a group of one class.

    Raises:
        BadInput: the groups are none, or a network has another number of outputs.
    """

    def __init__(self, groups: Sequence[Sequence[int]], network: Callable[[int], Graph | Model],
                 leaf: Callable[[int], Graph | Model] | None = None, **options: Any) -> None:
        self.groups: Groups = _checked(groups)
        self._group_of = np.zeros(sum(map(len, self.groups)), np.int64)
        self._place_of = np.zeros_like(self._group_of)
        for number, group in enumerate(self.groups):
            self._group_of[list(group)] = number
            self._place_of[list(group)] = range(len(group))
        self.root = _learner(network, len(self.groups), options)
        self.leaves = tuple(None if len(group) == 1 else
                            _learner(leaf or network, len(group), options)
                            for group in self.groups)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self._group_of)

    def __enter__(self) -> Hierarchy:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close all learners."""
        self.close()

    def close(self) -> None:
        """Close all learners: their boards are free."""
        for learner in (self.root, *self.leaves):
            if learner is not None:
                learner.close()

    def fit(self, x: Any, y: Any, epochs: int = 1, **options: Any) -> None:
        """Train root and leaves: the root on groups, each leaf on the images of its own classes.

        Args:
            x: images, as :meth:`~pynq_train.train.Learner.fit` takes them.
            y: class numbers ``(n,)``.
            epochs: passes over the images.
            options: more for :meth:`~pynq_train.train.Learner.fit`.

        Raises:
            BadInput: a label is none of the classes, or a leaf has no images.
        """
        labels = self._labels(y)
        images = np.asarray(x)
        groups = self._group_of[labels]
        for number, (group, learner) in enumerate(zip(self.groups, self.leaves)):
            if learner is not None and not (groups == number).any():
                raise BadInput(f"images of the classes {', '.join(map(str, group))}",
                               expected="one or more", found="none")
        self.root.fit(images, groups, epochs=epochs, **options)
        for number, learner in enumerate(self.leaves):
            if learner is not None:
                own = groups == number
                learner.fit(images[own], self._place_of[labels[own]], epochs=epochs, **options)

    def route(self, x: Any) -> NDArray[np.int64]:
        """Return the group that the root picks for each image, ``(n,)``."""
        return np.asarray(self.root.predict(x), np.int64)

    def predict(self, x: Any) -> NDArray[np.int64]:
        """Return the class of each image, ``(n,)``."""
        return self._answers(np.asarray(x), self.route(x))

    def evaluate(self, x: Any, y: Any) -> TreeResult:
        """Return how often root and tree are right, and how often each leaf was visited.

        Args:
            x: images.
            y: class numbers ``(n,)``.

        Raises:
            BadInput: a label is none of the classes.
        """
        labels = self._labels(y)
        routes = self.route(x)
        answers = self._answers(np.asarray(x), routes)
        # NumPy counts numbers of the processor's size: 32 bits on a Zynq-7000.
        visits = np.bincount(routes.astype(np.intp), minlength=len(self.groups)) / len(labels)
        return TreeResult(float(np.mean(answers == labels)),
                          float(np.mean(routes == self._group_of[labels])),
                          tuple(map(float, visits)), len(labels))

    def _answers(self, images: NDArray[Any], routes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the classes that the leaves answer for images that the root has sent to them."""
        found = np.zeros(len(routes), np.int64)
        for number, (group, learner) in enumerate(zip(self.groups, self.leaves)):
            own = routes == number
            if own.any():
                classes = np.array(group)
                found[own] = (classes[0] if learner is None
                              else classes[np.asarray(learner.predict(images[own]), np.int64)])
        return found

    def _labels(self, y: Any) -> NDArray[np.int64]:
        """Return labels as class numbers."""
        labels = np.asarray(y)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
            raise BadInput("labels", expected="class numbers (n,)",
                           found=f"{labels.dtype} {labels.shape}")
        if labels.min() < 0 or labels.max() >= self.classes:
            raise BadInput("labels", expected=f"classes 0 to {self.classes - 1}",
                           found=f"{labels.min()} to {labels.max()}")
        return labels.astype(np.int64)


def _checked(groups: Sequence[Sequence[int]]) -> Groups:
    """Return groups as tuples of numbers; check that each class is in one of them."""
    found = tuple(tuple(int(number) for number in group) for group in groups)
    numbers = sorted(number for group in found for number in group)
    if len(found) < 2 or not all(found) or numbers != list(range(len(numbers))):
        raise BadInput("groups", expected="two or more, each class from 0 up in one of them",
                       found=repr(found)[:80])
    return found


def _learner(network: Callable[[int], Graph | Model], outputs: int, options: dict[str, Any]
             ) -> Learner:
    """Return a learner of a network with some outputs."""
    model = network(outputs)
    graph = model.graph if isinstance(model, Model) else model
    if graph.classes != outputs:
        raise BadInput(f"network {graph.name!r} of the tree", expected=f"{outputs} outputs",
                       found=graph.classes)
    return Learner(model, **options)
