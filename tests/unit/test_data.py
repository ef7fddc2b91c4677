"""Loading, checking, preparing and ordering data."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train import data
from pynq_train.errors import BadInput, MissingTool
from pynq_train.images import prepare_images

X = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
Y = np.array([0, 1, 2, 1, 0], dtype=np.uint8)


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez_compressed(path, **arrays)
    return path


def test_x_and_y(tmp_path: Path) -> None:
    splits = data.load_npz(save(tmp_path, x=X, y=Y, classes=np.array(["a", "b", "c"])))
    assert splits.test is None and len(splits.train) == 5
    assert splits.train.y is not None and splits.train.y.dtype == np.int64


@pytest.mark.parametrize("key", data.CLASS_NAMES)
def test_names_beside_numbered_labels(tmp_path: Path, key: str) -> None:
    splits = data.load_npz(save(tmp_path, x=X, y=Y, **{key: np.array(["a", "b", "c"])}))
    assert splits.class_names == ("a", "b", "c") and splits.train.y is not None
    assert splits.train.y.tolist() == Y.tolist()
    with pytest.raises(BadInput, match="expected classes of the 2 that"):
        data.load_npz(save(tmp_path, x=X, y=Y, **{key: np.array(["a", "b"])}))


def test_names_as_labels(tmp_path: Path) -> None:
    names = np.array(["owl", "cat", "dog"])
    splits = data.load_npz(save(tmp_path, x_train=X, y_train=names[Y], x_test=X[:2],
                                y_test=names[Y[:2]].astype("S")))
    assert splits.train.y is not None and splits.test is not None and splits.test.y is not None
    assert splits.train.y.tolist() == names[Y].tolist() and splits.class_names == ()
    assert splits.test.y.tolist() == ["owl", "cat"]
    both = data.load_npz(save(tmp_path, x=X, y=names[Y], classes=names))
    assert both.class_names == ("owl", "cat", "dog")
    with pytest.raises(BadInput, match="of the 2 that 'classes' names, found 'dog'"):
        data.load_npz(save(tmp_path, x=X, y=names[Y], classes=names[:2]))


def test_names_in_a_folder(tmp_path: Path) -> None:
    for name, array in {"x": X, "y": Y, "classes": np.array(["a", "b", "c"])}.items():
        np.save(tmp_path / f"{name}.npy", array)
    assert data.load_npy(tmp_path).class_names == ("a", "b", "c")


def test_other_arrays_called_classes(tmp_path: Path) -> None:
    assert data.load_npz(save(tmp_path, x=X, y=Y, classes=np.array(10))).class_names == ()
    assert data.load_npz(save(tmp_path, x=X, y=Y, classes=np.arange(3))).class_names == ()
    with pytest.warns(pt.DataWarning, match="class names are left out: .*Python objects"):
        path = save(tmp_path, x=X, y=Y, classes=np.array(["a", "b", "c"], dtype=object))
        assert data.load_npz(path).class_names == ()


def test_train_and_test(tmp_path: Path) -> None:
    splits = data.load_npz(save(tmp_path, x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2]))
    assert splits.test is not None and len(splits.test) == 2


def test_labels_may_be_left_out(tmp_path: Path) -> None:
    assert data.load_npz(save(tmp_path, x=X)).train.y is None


NAN = X.astype(np.float32)
NAN[3, 1, 2] = np.nan
BAD_FILES = [
    ({"images": X}, r"expected an array 'x'.*found images"),
    ({"y": Y}, r"expected an array 'x'.*found y"),
    ({"x": X[0]}, r"'x' of .*expected images of shape .*found shape \(4, 4\)"),
    ({"x": X[:0]}, r"expected at least one image"),
    ({"x": X.astype(complex)}, r"expected integers or floats, found dtype complex128"),
    ({"x": X.astype(str)}, r"expected integers or floats, found dtype <U"),
    ({"x": NAN, "y": Y}, r"expected finite float32 numbers, found nan at \[3, 1, 2\] \(1 in all\)"),
    ({"x": np.where(X == 7, np.inf, X)}, r"found inf at \[0, 1, 3\]"),
    ({"x": np.where(X == 7, 1e39, X)}, r"found 1e\+39 at \[0, 1, 3\]"),
    ({"x": X, "y": Y[:4]}, r"one label per image, shape \(5,\), found shape \(4,\)"),
    ({"x": X, "y": Y.astype(complex)}, r"expected integer labels, found dtype complex128"),
    ({"x": X, "y": Y.astype(int) - 1}, r"expected labels of 0 and up, found -1"),
    ({"x": np.array([{}, 1], dtype=object)}, r"cannot be read: expected an .npz file of plain"),
]


@pytest.mark.parametrize("y", [
    Y.astype(np.float32), np.zeros((len(Y), 2)), np.zeros((len(Y), 4, 4), np.int64),
    np.zeros((len(Y), 3), np.bool_)], ids=lambda y: f"{y.dtype}-{y.ndim}")
def test_targets_of_other_kinds_stay_as_they_are(tmp_path: Path, y: np.ndarray) -> None:
    found = data.load_npz(save(tmp_path, x=X, y=y)).train.y
    assert found is not None and found.dtype == y.dtype
    np.testing.assert_array_equal(found, y)


def test_targets_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'y' of .*: expected finite float32 numbers"):
        data.load_npz(save(tmp_path, x=X, y=np.full((len(Y), 2), np.nan)))


@pytest.mark.parametrize(("arrays", "text"), BAD_FILES, ids=[t for _, t in BAD_FILES])
def test_bad_file(tmp_path: Path, arrays: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        data.load_npz(save(tmp_path, **arrays))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"data file '.*none.npz' does not exist; check the path"):
        data.load_npz(tmp_path / "none.npz")
    with pytest.raises(BadInput, match="Is a directory"):
        data.load_npz(tmp_path)


def test_corrupt_files(tmp_path: Path, rng: np.random.Generator) -> None:
    good = save(tmp_path, x=rng.integers(0, 255, (50, 8, 8)), y=np.zeros(50, int)).read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 0xFF
    for content in (b"", b"not an archive", good[: len(good) // 2], bytes(flipped), b"PK\x03\x04"):
        path = tmp_path / "bad.npz"
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"cannot be read: .*save it again"):
            data.load_npz(path)


def test_single_array_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(BadInput, match=r"found a single .npy array"):
        data.load_npz(tmp_path / "x.npy")


def test_check_labels() -> None:
    assert data.check_labels([0, 2], 2, 3).dtype == np.int64
    for bad, text in (
        ([0, 3], r"label of image 1: expected 0..2 \(3 classes\), found 3; number the classes"),
        ([-1, 0], "label of image 0: expected 0..2"),
        ([0], r"expected one per image, shape \(2,\)"),
        ([0.0, 1.0], "expected integer labels, found dtype float64"),
    ):
        with pytest.raises(BadInput, match=text):
            data.check_labels(bad, 2, 3)


def test_channel_stats_normalise(rng: np.random.Generator) -> None:
    x = rng.normal(3, 2, (50, 2, 4, 4)).astype("f")
    x[:, 1] = 7
    mean, std = data.channel_stats(x)
    out = prepare_images(x, (2, 4, 4), mean=mean, std=std)
    assert abs(out.mean()) < 1e-5 and abs(out[:, 0].std() - 1) < 1e-5 and std[1] == 1


def test_digits_split_is_fixed() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    splits = data.load_digits()
    assert splits.test is not None and splits.train.y is not None and splits.test.y is not None
    assert splits.train.x.shape == (1437, 1, 8, 8) and splits.test.x.shape == (360, 1, 8, 8)
    assert splits.train.x.dtype == np.float32
    assert abs(splits.train.x.mean()) < 1e-4 and abs(splits.train.x.std() - 1) < 1e-4
    assert splits.train.y[:12].tolist() == [7, 7, 0, 9, 2, 6, 4, 3, 0, 9, 5, 1]
    assert np.bincount(splits.test.y).min() >= 25


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingTool, match=r"needs scikit-learn.*run 'pip install scikit-learn'"):
        data.load_digits()


def test_epoch_order_is_fixed_and_differs() -> None:
    assert data.epoch_order(8, 0, 0).tolist() == [4, 5, 1, 3, 7, 2, 6, 0]
    assert not np.array_equal(data.epoch_order(100, 0, 0), data.epoch_order(100, 0, 1))
    assert not np.array_equal(data.epoch_order(100, 0, 0), data.epoch_order(100, 1, 0))


def test_batches_cover_each_image_once() -> None:
    parts = list(data.batches(10, 4, seed=3, epoch=2))
    assert [len(p) for p in parts] == [4, 4, 2]
    assert np.array_equal(np.concatenate(parts), data.epoch_order(10, 3, 2))
    assert [len(p) for p in data.batches(10, 4, 3, 2, drop_last=True)] == [4, 4]
    with pytest.raises(BadInput, match="batch size: expected at least 1, found 0"):
        next(data.batches(10, 0, 0, 0))


def test_real_files(shared_data: Path) -> None:
    splits = data.load_npz(shared_data / "fashion_mnist.npz")
    assert splits.test is not None
    assert prepare_images(splits.test.x[:10], (3, 28, 28)).shape == (10, 3, 28, 28)
    assert data.load_npz(shared_data / "cifar10_png4k.npz").train.x.shape == (4000, 32, 32, 3)
