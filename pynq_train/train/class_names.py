"""Names of classes: labels may be names, and answers then are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.data import Labels, as_names, check_labels, class_name
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph.class_names import checked_names
from pynq_train.images import as_array
from pynq_train.train.arguments import flag


@dataclass(frozen=True)
class ClassNames:
    """Names of a network's classes, as far as they are known.

    Attributes:
        names: of the classes from 0 on; empty if nobody has said any.
        answers: whether training labels were names, so that predictions are.
    """

    names: tuple[str, ...] = ()
    answers: bool = False

    @classmethod
    def given(cls, names: Any, classes: int, otherwise: tuple[str, ...] = ()) -> ClassNames:
        """Return the names that a user gives, those of all ``classes``; ``otherwise`` for None.

        Raises:
            BadInput: they are no names, not as many as classes, or two are equal.
        """
        if names is None:
            return cls(checked_names(otherwise, classes))
        try:
            found = () if isinstance(names, str) else tuple(names)
        except TypeError:  # no list; an array without axes says so only when it is asked
            found = ()
        if len(found) != classes or not all(isinstance(name, str) for name in found):
            raise BadInput("class_names", expected=f"a list of {classes} names, one for each class",
                           found=repr(names)[:80])
        return cls(checked_names(tuple(map(str, found)), classes))

    @classmethod
    def from_state(cls, state: Mapping[str, Any], classes: int) -> ClassNames:
        """Return those of a checkpoint; files of earlier releases have none.

        Raises:
            BadInput: more than ``classes``, or names that no learner has.
        """
        names = checked_names(tuple(state.get("class_names", ())), classes)
        return cls(names, state.get("names_answer", False))

    def to_state(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return {"class_names": list(self.names), "names_answer": self.answers}

    def numbered(self, y: Any, count: int, classes: int, *, learn: bool = False,
                 foreign: bool = False) -> tuple[Labels, ClassNames]:
        """Return labels as class numbers, and the names that are known then.

        Names get the numbers of a fresh network in their order (numerals by their value); those
        that are new to a trained one the numbers that have no name yet.

        Args:
            y: class numbers, or names.
            count: images.
            classes: outputs of the network.
            learn: whether new names may be learned: in a training.
            foreign: whether the network has learned classes that nobody has named.

        Raises:
            BadInput: neither; another shape; numbers or names of no class.
        """
        array = as_array("labels", y)
        names = as_names("labels", array)
        if names is None:
            return check_labels(array, count, classes), self
        if names.shape != (count,):
            raise BadInput("labels", expected=f"one per image, shape ({count},)", found=names.shape)
        unique, place = np.unique(names, return_inverse=True)
        found: list[str] = unique.tolist()
        known = self.names
        if not known and foreign:
            raise BadInput("labels", expected="class numbers: nobody has said which output of this "
                           "trained network is which class", found=f"names such as {found[0]!r}",
                           fix="say class_names=[...], in the order of the outputs, where the "
                               "learner is made, or learner.class_names = [...]")
        new = [name for name in found if name not in known]
        if new and (not learn or len(known) == classes):
            if not known:
                raise BadInput("labels", expected="class numbers: no class has a name",
                               found=f"names such as {found[0]!r}",
                               fix="train with names, or say class_names=[...]")
            raise UnknownName.among("class", new[0], known)
        known += tuple(sorted(new, key=_in_order))
        if len(known) > classes:
            raise BadInput("labels", expected=f"at most {classes} classes",
                           found=f"{len(known)} names: " + ", ".join(known)[:200],
                           fix="use a network with more logits")
        number = {name: at for at, name in enumerate(checked_names(known, classes))}
        codes = np.array([number[name] for name in found], np.int64)
        return codes[place.reshape(-1)], ClassNames(known, self.answers or learn)

    def of(self, number: int) -> str:
        """Return the name of a class; its number where it has none."""
        return class_name(self.names, number)

    def answer(self, wanted: Any, classes: int) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
        """Return what makes answers of class numbers.

        Args:
            wanted: True: names, False: numbers, None: what the training labels were.
            classes: outputs of the network.

        Raises:
            BadInput: another value, or no class has a name.
        """
        if not (self.answers if wanted is None else flag("names", wanted)):
            return lambda numbers: numbers
        if not self.names:
            raise BadInput("names=True", expected="classes that have names", found="none",
                           fix="train with names as labels, or say class_names=[...]")
        table = np.array([self.of(number) for number in range(classes)])
        return lambda numbers: table[numbers]

    def __str__(self) -> str:
        """Return a part of a line: the first names, if there are any."""
        names = ", ".join(self.names[:4]) + ", ..." * (len(self.names) > 4)
        return f", classes {names}" if names else ""


def _in_order(name: str) -> tuple[int, str]:
    return (int(name) if name.isascii() and name.isdigit() else -1, name)
