"""Ridge regressions of many devices and arms side by side, kept up to date one answer at a time.

Each has a Gram matrix ``A = ridge * I + sum(x x^T)``, a moment ``b = sum((r - START) x)`` and the
inverse of ``A``, which Sherman and Morrison's formula keeps up in O(d^2). After every
:data:`REFRESH` answers the inverse is computed anew from the Gram matrix, so that roundings cannot
add up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

START = 1.0
"""Answer that is expected where nothing is known, the best one: so each arm gets its trial."""
REFRESH = 1024
"""Answers of one regression after which its inverse is computed anew."""
MOST_DRIFT = 1e-6
"""Largest element of ``A * inverse - I`` that a saved state may have."""


class Ridges:
    """Regressions of ``devices x arms``, each with ``size`` coefficients.

    Args:
        devices: number of devices, 0 or more.
        arms: number of arms.
        size: number of features.
        ridge: weight of the assumption that every answer is :data:`START`, above 0.

    Attributes:
        gram: Gram matrices, float64 ``(devices, arms, size, size)``.
        inverse: their inverses, of the same shape.
        moment: float64 ``(devices, arms, size)``.
        answers: answers of each, float64 ``(devices, arms)``; a warm start gives fractions.
        updates: rank-1 updates of each inverse, int64 ``(devices, arms)``.
    """

    def __init__(self, devices: int, arms: int, size: int, ridge: float) -> None:
        self.ridge = ridge
        eye = np.eye(size)
        self.gram: Floats = np.tile(ridge * eye, (devices, arms, 1, 1))
        self.inverse: Floats = np.tile(eye / ridge, (devices, arms, 1, 1))
        self.moment: Floats = np.zeros((devices, arms, size))
        self.answers: Floats = np.zeros((devices, arms))
        self.updates: Ints = np.zeros((devices, arms), np.int64)

    def estimate(self, rows: slice, x: Floats) -> tuple[Floats, Floats]:
        """Return the expected answers and their widths ``sqrt(x^T A^-1 x)``, ``(rows, arms)`` each.

        Args:
            rows: the devices.
            x: features, float64 ``(rows, arms, size)``.
        """
        solved = np.einsum("nkij,nkj->nki", self.inverse[rows], x)
        mean = START + np.einsum("nki,nki->nk", solved, self.moment[rows])
        # The inverse is positive definite; a rounding could still put a tiny width below 0.
        width = np.sqrt(np.maximum(np.einsum("nki,nki->nk", solved, x), 0.0))
        return mean, width

    def learn(self, rows: Ints, arms: Ints, x: Floats, answers: Floats) -> None:
        """Take one answer of each of several devices.

        Args:
            rows: the devices, each at most once.
            arms: the arm of each.
            x: features of that arm, float64 ``(rows, size)``.
            answers: what was observed, float64 ``(rows,)``.
        """
        inverse = self.inverse[rows, arms]
        solved = np.einsum("nij,nj->ni", inverse, x)
        # Half of the divisor on each side: the products are symmetric to the last bit.
        solved /= np.sqrt(1.0 + np.einsum("ni,ni->n", solved, x))[:, None]
        self.inverse[rows, arms] = inverse - solved[:, :, None] * solved[:, None, :]
        self.gram[rows, arms] += x[:, :, None] * x[:, None, :]
        self.moment[rows, arms] += (answers - START)[:, None] * x
        self.answers[rows, arms] += 1.0
        self.updates[rows, arms] += 1
        due = self.updates[rows, arms] % REFRESH == 0
        if due.any():
            self.refresh(rows[due], arms[due])

    def refresh(self, rows: Ints, arms: Ints) -> None:
        """Compute inverses anew from the Gram matrices."""
        exact = np.linalg.inv(self.gram[rows, arms])
        self.inverse[rows, arms] = (exact + exact.transpose(0, 2, 1)) / 2

    def drift(self) -> float:
        """Return the largest element of ``A * inverse - I``: 0 if the inverses are exact."""
        if not self.gram.size:
            return 0.0
        product = np.einsum("nkij,nkjl->nkil", self.gram, self.inverse)
        return float(np.abs(product - np.eye(self.gram.shape[-1])).max())

    def add(self, warm: float) -> None:
        """Append a device.

        Args:
            warm: answers per arm that the mean of the other devices counts for; 0: it begins with
                nothing. An arm of which fewer are known counts for these.
        """
        arms, size = self.moment.shape[1:]
        own = Ridges(1, arms, size, self.ridge)
        known = self.answers.sum(axis=0)
        share = np.minimum(warm, known) / np.maximum(known, 1e-12)
        facts = self.gram.sum(axis=0) - len(self.gram) * self.ridge * np.eye(size)
        own.gram[0] += share[:, None, None] * facts
        own.moment[0] = share[:, None] * self.moment.sum(axis=0)
        own.answers[0] = share * known
        own.refresh(np.zeros(arms, np.int64), np.arange(arms))
        self.put({name: np.concatenate([mine, own.arrays()[name]])
                  for name, mine in self.arrays().items()})

    def arrays(self) -> dict[str, Array]:
        """Return the state, by name."""
        return {"gram": self.gram, "inverse": self.inverse, "moment": self.moment,
                "answers": self.answers, "updates": self.updates}

    def put(self, arrays: Mapping[str, Array]) -> None:
        """Replace the state."""
        self.gram, self.inverse = arrays["gram"], arrays["inverse"]
        self.moment, self.answers = arrays["moment"], arrays["answers"]
        self.updates = arrays["updates"]

    def check(self, where: str) -> None:
        """Check a state that a file has given.

        Raises:
            BadInput: an inverse is not that of its Gram matrix, or this is no sum of squares.
        """
        found = self.drift()
        if not found <= MOST_DRIFT:  # NaN is refused too
            raise BadInput(f"{where}: inverses of the Gram matrices",
                           expected=f"a deviation of at most {MOST_DRIFT:g}",
                           found=f"{found:g}", fix="use a copy, or an earlier file")
        diagonal = np.einsum("nkii->nki", self.gram)
        asymmetric = (self.gram != self.gram.transpose(0, 1, 3, 2)).any()
        if asymmetric or (diagonal < 0.999 * self.ridge).any():
            raise BadInput(f"{where}: Gram matrices",
                           expected=f"symmetric ones with {self.ridge:g} or more on the diagonal",
                           found="others", fix="use a copy, or an earlier file")
