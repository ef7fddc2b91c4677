"""Random numbers that are the same bits on every machine, NumPy version and resumed run.

NumPy's own generators change between releases, and its logarithm and cosine between processors;
here everything is integer arithmetic on the SplitMix64 sequence, and exact float operations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: the step of SplitMix64 (Steele et al., 2014)."""
_CHUNK = 1 << 16
"""Numbers that are made at once, so that the words in between stay small."""


def stream_key(*words: int) -> int:
    """Return the 64-bit key of a random stream, which integers name: seed, epoch, layer ...

    Each word is mixed before the next is added, so that (1, 2) and (2, 1) name different streams.
    """
    key = 0
    for word in words:
        key = _mix((key + _GOLDEN) & _MASK ^ (int(word) & _MASK))
    return key


def hash_u64(key: int, first: int, count: int) -> npt.NDArray[np.uint64]:
    """Return outputs ``first .. first + count - 1`` of SplitMix64 seeded with ``key``, uint64.

    The generator only counts and mixes, so any output can be made without those before it.
    """
    index = np.arange(count, dtype=np.uint64)
    start = (key + (first + 1) * _GOLDEN) & _MASK
    return _mix_all(index * np.uint64(_GOLDEN) + np.uint64(start))


def hash_each(keys: npt.NDArray[np.uint64], index: npt.NDArray[np.int64]
              ) -> npt.NDArray[np.uint64]:
    """Return one output of each of many streams, uint64: ``hash_u64(key, index, 1)`` of each.

    Args:
        keys: keys of the streams, uint64 of any shape.
        index: which output of each, int64 of the same shape, 0 or more.
    """
    return _mix_all(keys + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))


def normal_float32(key: int, count: int) -> npt.NDArray[np.float32]:
    """Return ``count`` numbers of mean 0, variance 1 and nearly normal shape, within +-6.

    Each is the centred sum of twelve 16-bit fields of the stream ``key``, hence an exact multiple
    of 2^-16. The sum of twelve uniform numbers has variance 1; it needs no logarithm, whose last
    bit differs between processors.
    """
    out = np.empty(count, dtype=np.float32)
    shifts = np.array([0, 16, 32, 48], dtype=np.uint64)
    for begin in range(0, count, _CHUNK):
        size = min(_CHUNK, count - begin)
        words = hash_u64(key, 3 * begin, 3 * size).reshape(size, 3)
        fields = (words[:, :, None] >> shifts) & np.uint64(0xFFFF)
        total = fields.sum(axis=(1, 2), dtype=np.int64) - 6 * 0xFFFF
        out[begin : begin + size] = total / 65536.0
    return out


def permutation(key: int, count: int) -> npt.NDArray[np.int64]:
    """Return a permutation of ``0 .. count - 1``, int64: the indices in order of their hashes."""
    return np.argsort(hash_u64(key, 0, count), kind="stable").astype(np.int64)


def _mix_all(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the mixing step of SplitMix64, on arrays."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return result


def _mix(z: int) -> int:
    """Return the mixing step of SplitMix64, on Python integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
