"""Which samples are held out to compare rungs: a part once, or every one in turn where few are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pynq_train.graph.rng import permutation, stream_key

FEW = 200
"""Below so many samples each is held out once; from there on a fifth of them is."""
_FOLDS, _PART = 4, 5
_STREAM = 0xF01D
Indices = NDArray[np.int64]


def folds(labels: Sequence[int] | NDArray[np.int64], seed: int) -> list[tuple[Indices, Indices]]:
    """Return pairs of samples to train on and samples to compare on.

    Each class is spread evenly; one with a single sample is always trained on. Of few samples there
    are four pairs (or two, where classes have fewer), so that each sample of a larger class is
    compared on once; of many there is one. Where every class has a single sample, all are trained
    on and compared on: nothing can be held out.

    Args:
        labels: class of each sample.
        seed: of the order in which they are taken.
    """
    classes = np.asarray(labels, np.int64)
    part = np.full(len(classes), -1, np.int64)
    few = len(classes) < FEW
    counts = np.bincount(classes.astype(np.intp))
    count = _FOLDS if few else _PART
    for own in np.flatnonzero(counts > 1):
        places = np.flatnonzero(classes == own)
        order = places[permutation(stream_key(seed, _STREAM, int(own)), len(places))]
        # A class of fewer samples than parts stands in as many of them.
        part[order] = (np.arange(len(order)) + own) % count
    pairs = []
    for number in range(count if few else 1):
        held = np.flatnonzero(part == number)
        if len(held):
            pairs.append((np.flatnonzero(part != number), held))
    every = np.arange(len(classes))
    return pairs or [(every, every)]
