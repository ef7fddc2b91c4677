"""Data on the host: loading and checking .npz files and labels, and the order of batches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pynq_train.arrays import Array
from pynq_train.errors import BadInput, DataWarning, MissingTool, warn_user
from pynq_train.files import path_text, read_npy, read_npz
from pynq_train.graph.params import FloatArray
from pynq_train.graph.rng import permutation, stream_key
from pynq_train.images import as_array, check_finite, images_together

Labels = npt.NDArray[np.int64]

_NAMES = ("x", "y", "x_train", "y_train", "x_test", "y_test")
CLASS_NAMES = ("classes", "class_names", "label_names", "target_names")
"""Arrays of a file that may hold the names of its classes, from class 0 on."""

DIGITS_TRAIN = 1437
"""Training images of :func:`digits`; the rest, 360, are its test images."""

_STREAM_ORDER = 0x0D
"""Names the random stream of the orders of epochs among those of a seed."""
_STREAM_DIGITS = 0xD1
"""Names the random stream that divides the digits."""


@dataclass(frozen=True)
class Dataset:
    """Images ``x`` and, if known, labels ``y``, one per image: int64 numbers, or names (str).

    Or targets of other kinds, as the file has them: labels of pixels, numbers, yes or no.
    """

    x: Array
    y: Array | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.x)

    def __repr__(self) -> str:
        """Return one line: number, shape and type of the images."""
        labels = "no labels" if self.y is None else "labels"
        return f"<Dataset: {len(self)} images {self.x.shape[1:]} {self.x.dtype}, {labels}>"


@dataclass(frozen=True)
class Splits:
    """Training data and, if the source has any, test data.

    ``class_names``: names of the classes from 0 on, if the source has them beside the labels; give
    them to the learner (``class_names=``).
    """

    train: Dataset
    test: Dataset | None
    class_names: tuple[str, ...] = ()


def load_npz(path: str | os.PathLike[str]) -> Splits:
    """Return the data of an .npz file with ``x`` and optionally ``y``, or split in two sets.

    The names are then ``x_train``, ``y_train``, ``x_test``, ``y_test``. Images are numbers of shape
    (n, rows, cols), (n, rows, cols, channels) or (n, channels, rows, cols); labels are integers
    from 0 on, or names of classes, one per image. Images are returned as they are stored, labels as
    int64 or str. Floats, and arrays of more axes, are targets of other losses: they are returned as
    they are stored, and the learner says whether they suit its loss. An array ``classes`` (or
    ``class_names``, ``label_names``, ``target_names``) has the names of numbered classes. Large
    arrays that are not compressed (``numpy.savez``) are mapped: they may be larger than memory.

    Raises:
        BadInput: the file is missing or corrupt, has other keys, dtypes or shapes, differing
            counts, NaN or infinity, or needs more memory than there is.
    """
    name = path_text(path, "data file")
    arrays = read_npz(name, _NAMES)
    named = {}
    for key in CLASS_NAMES:
        try:
            if key in arrays:
                named[key] = read_npz(name, (key,))[key]
        except BadInput as error:
            warn_user(DataWarning, f"class names are left out: {error}")
    return _splits(name, {**arrays, **named})


def load_npy(path: str | os.PathLike[str]) -> Splits:
    """Return the data of .npy files: a folder that holds them, or the one with the images.

    Their names are those of the arrays in :func:`load_npz`, ``x_train.npy`` and so on. Large files
    are mapped: they may be larger than memory.

    Raises:
        BadInput: as :func:`load_npz`.
    """
    name = path_text(path, "data file")
    folder, label = name, ""
    if not os.path.isdir(name):
        folder, label = os.path.split(name)
        if label.removesuffix(".npy") not in ("x", "x_train"):
            raise BadInput(f"data file {name!r}", expected="x.npy or x_train.npy, with y.npy or "
                           "y_train.npy beside it", found=label, fix="rename the files")
    wanted = _NAMES[:2] if label == "x.npy" else _NAMES[2:] if label else _NAMES
    files = {one: os.path.join(folder, f"{one}.npy") for one in (*wanted, *CLASS_NAMES)}
    arrays = {one: read_npy(at) for one, at in files.items()
              if os.path.exists(at) or f"{one}.npy" == label}
    return _splits(name, arrays)


def load_data(path: str | os.PathLike[str]) -> Splits:
    """Return the data of an .npz file, or of .npy files: see :func:`load_npz`, :func:`load_npy`."""
    name = path_text(path, "data file")
    return load_npy(name) if os.path.isdir(name) or name.endswith(".npy") else load_npz(name)


def class_name(names: Sequence[str], number: int) -> str:
    """Return the name of a class; its number where it has none."""
    return names[number] if number < len(names) else str(number)


def check_labels(y: Any, count: int, classes: int) -> Labels:
    """Return ``y`` as int64 (count,).

    Raises:
        BadInput: it has another shape, no integers, or a label outside 0 .. ``classes`` - 1.
    """
    array = as_array("labels", y)
    _check_label_type("labels", array)
    if array.shape != (count,):
        raise BadInput("labels", expected=f"one per image, shape ({count},)", found=array.shape)
    wrong = np.flatnonzero((array < 0) | (array >= classes))
    if len(wrong):
        raise BadInput(
            f"label of image {wrong[0]}",
            expected=f"0..{classes - 1} ({classes} classes)",
            found=array[wrong[0]],
            fix="number the classes from 0, or use a network with more logits",
        )
    return array.astype(np.int64)


def channel_stats(x: FloatArray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel of images (n, channels, rows, cols).

    A channel that is constant gets deviation 1.
    """
    mean = x.mean(axis=(0, 2, 3), dtype=np.float64)
    std = x.std(axis=(0, 2, 3), dtype=np.float64)
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def load_digits() -> Splits:
    """Return scikit-learn's 1,797 handwritten digits, normalised float32 (n, 1, 8, 8).

    The split into 1,437 training and 360 test images is fixed. Mean and deviation of the training
    pixels are 0 and 1.

    Raises:
        MissingTool: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise MissingTool("the digits data set needs scikit-learn", expected="package scikit-learn",
                          found="none", fix="run 'pip install scikit-learn'") from None
    source = datasets.load_digits()
    x = np.divide(source.images, 16, dtype=np.float32)[:, None]
    y = np.asarray(source.target, dtype=np.int64)
    order = permutation(stream_key(_STREAM_DIGITS), len(x))
    x, y = x[order], y[order]
    mean, std = channel_stats(x[:DIGITS_TRAIN])
    x = ((x - np.float32(mean[0])) / np.float32(std[0])).astype(np.float32)
    return Splits(Dataset(x[:DIGITS_TRAIN], y[:DIGITS_TRAIN]),
                  Dataset(x[DIGITS_TRAIN:], y[DIGITS_TRAIN:]))


def epoch_order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order in which epoch ``epoch`` (from 0) visits ``count`` images.

    The same on every machine and in a resumed run: it depends on the three arguments alone.
    """
    return permutation(stream_key(seed, _STREAM_ORDER, epoch), count)


def batches(
    count: int, batch: int, seed: int, epoch: int, drop_last: bool = False
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the image indices, int64, of every mini-batch of one epoch, in :func:`epoch_order`.

    Args:
        count: number of images.
        batch: images of a mini-batch.
        seed: of the training.
        epoch: number of the epoch, from 0.
        drop_last: leave out a last mini-batch of fewer than ``batch`` images.

    Raises:
        BadInput: ``batch`` is below 1.
    """
    if batch < 1:
        raise BadInput("batch size", expected="at least 1", found=batch)
    order = epoch_order(count, seed, epoch)
    for begin in range(0, count, batch):
        part = order[begin : begin + batch]
        if len(part) == batch or not drop_last:
            yield part


def _splits(path: str, arrays: dict[str, Array]) -> Splits:
    """Return the data of arrays by name; the path is for the texts."""
    if "x" in arrays:
        train = _dataset(path, arrays, "x", "y")
        return Splits(train, None, _class_names(path, arrays, train))
    if "x_train" not in arrays:
        raise BadInput(
            f"data file {path!r}",
            expected="an array 'x' (and 'y'), or 'x_train', 'y_train', 'x_test', 'y_test'",
            found=", ".join(arrays)[:200] or "no arrays",
        )
    train = _dataset(path, arrays, "x_train", "y_train")
    test = _dataset(path, arrays, "x_test", "y_test") if "x_test" in arrays else None
    return Splits(train, test, _class_names(path, arrays, train, test))


def _class_names(path: str, arrays: dict[str, Array], *sets: Dataset | None) -> tuple[str, ...]:
    """Return the names of the classes that stand beside labels; none for none.

    Raises:
        BadInput: labels of no class that has a name.
    """
    for key in CLASS_NAMES:
        found = as_names(f"{key!r} of {path!r}", arrays.get(key, np.empty(0)))
        if found is None or found.ndim != 1 or not found.size:
            continue  # a number of classes, for example
        names = tuple(found.tolist())
        for one in sets:
            if one is None or one.y is None or one.y.dtype.kind in "fb":
                continue
            if one.y.dtype.kind == "U":
                odd = sorted(set(np.unique(one.y).tolist()) - set(names))
                label = repr(odd[0]) if odd else ""
            else:
                label = str(one.y.max()) if one.y.max() >= len(names) else ""
            if label:
                raise BadInput(f"labels of {path!r}", found=label, expected=f"classes of the "
                               f"{len(names)} that {key!r} names", fix=f"mend {key!r}")
        return names
    return ()


def as_names(what: str, array: Array) -> npt.NDArray[np.str_] | None:
    """Return labels that are names of classes as an array of str; None if they are something else.

    Raises:
        BadInput: names beside other things; bytes or characters that are no text.
    """
    if array.dtype.kind == "O":
        values = array.ravel().tolist()
        odd = [at for at, value in enumerate(values) if not isinstance(value, str)]
        if len(odd) == len(values):
            return None
        if odd:
            raise BadInput(what, expected="names of classes, or integers, for all images",
                           found=f"{values[odd[0]]!r} for image {odd[0]}"[:80],
                           fix="remove or replace these samples")
    elif array.dtype.kind not in "US":
        return None
    try:
        if array.dtype.kind == "S":
            return np.char.decode(array, "utf-8")
        names: npt.NDArray[np.str_] = np.ascontiguousarray(array.astype(str))
        # A file may hold numbers that are no characters: NumPy looks at them too late.
        if names.size and names.reshape(-1).view(np.uint32).max() > sys.maxunicode:
            raise ValueError("numbers that are no characters")
        return names
    except ValueError as error:
        raise BadInput(what, expected="names of classes as text", found=str(error)[:80],
                       fix="save them as numpy.array([...], dtype=str)") from None


def _dataset(path: str, arrays: dict[str, Array], x_key: str, y_key: str) -> Dataset:
    """Return the images and labels under two keys, checked; the path is for the texts."""
    x = arrays[x_key]
    what = f"{x_key!r} of {path!r}"
    if x.ndim not in (3, 4):
        raise BadInput(what, expected="images of shape (n, rows, cols), (n, rows, cols, channels) "
                       "or (n, channels, rows, cols)", found=f"shape {x.shape}")
    if x.size == 0:
        raise BadInput(what, expected="at least one image", found=f"shape {x.shape}")
    step = images_together(4 * (x.size // len(x)))
    for begin in range(0, len(x), step):
        _check_numbers(what, x[begin : begin + step], begin)
    if y_key not in arrays:
        return Dataset(x, None)
    y = arrays[y_key]
    what = f"{y_key!r} of {path!r}"
    names = as_names(what, y)
    if names is None and y.ndim and len(y) == len(x) and (y.ndim > 1 or y.dtype.kind == "f"):
        return Dataset(x, _numbers(what, y))  # whether they suit the loss, the learner says
    if names is None:
        _check_label_type(what, y)
    if y.shape != (len(x),):
        raise BadInput(what, expected=f"one label per image, shape ({len(x)},)",
                       found=f"shape {y.shape}")
    if names is not None:
        return Dataset(x, names)
    if y.min() < 0:
        raise BadInput(what, expected="labels of 0 and up", found=y.min())
    return Dataset(x, y.astype(np.int64))


def _numbers(what: str, array: Array) -> Array:
    """Return targets that are no labels of images: numbers, labels of pixels, yes or no.

    Raises:
        BadInput: something else, NaN or infinity.
    """
    if array.dtype.kind == "b":
        return array
    _check_numbers(what, array)
    return array


def _check_numbers(what: str, array: Array, first_image: int = 0) -> None:
    """Check that an array holds integers, or floats that are finite in float32.

    ``first_image``: number of its first image, for the text.

    Raises:
        BadInput: it does not; the text names the first bad place.
    """
    if array.dtype.kind not in "uif":
        raise BadInput(what, expected="integers or floats", found=f"dtype {array.dtype}")
    check_finite(array, first_image, what)


def _check_label_type(what: str, array: Array) -> None:
    """Check that labels are integers.

    Raises:
        BadInput: they are not.
    """
    if array.dtype.kind not in "ui":
        raise BadInput(what, expected="integer labels", found=f"dtype {array.dtype}",
                       fix="number the classes from 0, or name them: strings")
