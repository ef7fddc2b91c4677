"""Learners with targets of all kinds: what they learn, answer, keep, and refuse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.cli.main import main
from pynq_train.errors import BadInput, UnknownName, UnsupportedModel
from pynq_train.graph import Graph, Relu
from pynq_train.graph.ops import Conv, Dense, GlobalAvgPool, Op

COUNT = 48
DRAW = np.random.default_rng(5)
X = DRAW.normal(0, 1, (COUNT, 1, 6, 6)).astype(np.float32)
PIXELS = (X[:, 0] > 0.3).astype(np.int64) + (X[:, 0] > 1)
FLAT = DRAW.normal(0, 1, (COUNT, 3)).astype(np.float32) @ DRAW.normal(0, 1, (3, 12)).astype(
    np.float32)
TWO = np.stack([X.mean((1, 2, 3)), X[:, 0, :3].mean((1, 2))], 1)
YES = np.stack([X[:, 0, 0, 0] > 0, X[:, 0, 1, 1] > 0, X[:, 0, 2, 2] > 0.5], 1)


def net(*ops: Op, shape: tuple[int, int, int] = (1, 6, 6)) -> Graph:
    return Graph.build(shape, ops, "net")


MAP = net(Conv(8, 3, padding=1), Relu(), Conv(3, 1))
PICTURE = net(Conv(8, 3, padding=1), Relu(), Conv(1, 3, padding=1))
CODER = net(Dense(8), Relu(), Dense(3), Dense(12), shape=(12, 1, 1))


def numbers(outputs: int) -> Graph:
    return net(Conv(6, 3), Relu(), Dense(outputs))


def learner(graph: Graph, loss: str, **options: Any) -> pt.Learner:
    optimizer = pt.SGD(0.1, momentum=0.9, schedule="constant", warmup_steps=0)
    return pt.Learner(graph, loss=loss, batch=16, optimizer=optimizer, **options)


KINDS: dict[str, tuple[Graph, str, Any, Any, dict[str, Any]]] = {
    "pixels": (MAP, "cross-entropy", X, PIXELS, {}),
    "some pixels": (MAP, "cross-entropy", X, np.where(X[:, 0] < -1, 255, PIXELS),
                    {"ignore_index": 255, "class_weights": [1, 2, 4]}),
    "weighted labels": (numbers(3), "cross-entropy", X, PIXELS[:, 0, 0],
                        {"class_weights": [1, 2, 4]}),
    "mean of pixels": (net(Conv(8, 3, padding=1), Relu(), Conv(3, 1), GlobalAvgPool()),
                       "cross-entropy", X + PIXELS[:, :1, :1, None], PIXELS[:, 0, 0], {}),
    "numbers": (numbers(2), "mse", X, TWO, {}),
    "a number": (numbers(1), "huber", X, 4 * X[:, 0, 1, 1], {"huber_delta": 0.3}),
    "flat": (CODER, "mse", FLAT, FLAT, {}),
    "picture": (PICTURE, "mse", X, X, {}),
    "several labels": (numbers(3), "binary-cross-entropy", X, YES, {}),
    "yes or no": (numbers(1), "binary-cross-entropy", X, YES[:, 0], {}),
    "yes or no of pixels": (PICTURE, "binary-cross-entropy", X, X[:, 0] > 0, {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_learns_as_float32_does(name: str, recwarn: pytest.WarningsRecorder) -> None:
    graph, loss, x, y, options = KINDS[name]
    own = learner(graph, loss, **options)
    history = own.fit(x, y, epochs=12, progress=False, validation_data=(x, y))
    twin = pt.fit_float(graph, x, y, epochs=12, batch=16, optimizer=own.optimizer, loss=loss,
                        validation_data=(x, y), **options)
    first, last = history.epochs[0], history.epochs[-1]
    assert last.val_loss is not None and last.val_loss < 0.9 * first.loss
    other = twin.epochs[-1]
    assert last.val_loss == pytest.approx(other.val_loss, rel=0.1, abs=0.004)
    if loss in ("mse", "huber"):
        assert math.isnan(last.accuracy) and "accuracy" not in last.text()
    else:
        assert last.val_accuracy == pytest.approx(other.val_accuracy, abs=0.06)
    assert not [one for one in recwarn if "nothing has been learnt" in str(one.message)]


@pytest.mark.parametrize("name", ["some pixels", "flat", "yes or no"])
def test_a_file_keeps_the_loss_and_goes_on_with_the_same_bits(name: str, tmp_path: Path) -> None:
    graph, loss, x, y, options = KINDS[name]
    whole, part = (learner(graph, loss, **options) for _ in range(2))
    whole.fit(x, y, epochs=3, progress=False)
    whole.threshold = 0.25
    path = tmp_path / "a.safetensors"

    class Stop(pt.callbacks.Callback):
        def on_step(self, learner: Any, outcome: Any) -> None:
            if learner.steps == 4:
                learner.save(path)

    part.fit(x, y, epochs=3, progress=False, callbacks=[Stop()])
    again = pt.load(path)
    assert (again.loss, again.label_smoothing) == (loss, 0.0)
    again.fit(x, y, epochs=3, progress=False, resume=True, callbacks=[pt.callbacks.Callback()])
    for layer, own in whole.masters.items():
        assert own.same_bits(again.masters[layer]), layer
    assert again.history.batch_losses == whole.history.batch_losses
    whole.save(path)
    assert pt.load(path).threshold == 0.25
    np.testing.assert_array_equal(pt.load(path).logits(x), whole.logits(x))
    assert [math.isnan(one.accuracy) for one in pt.load(path).history.epochs] == [
        loss == "mse"] * 3


def test_answers_have_the_form_of_the_targets() -> None:
    pixels = learner(MAP, "cross-entropy")
    assert pixels.predict(X[:5]).shape == (5, 6, 6) and pixels.logits(X[:5]).shape == (5, 3, 6, 6)
    shares = pixels.predict_proba(X[:5])
    assert shares.shape == (5, 3, 6, 6) and np.allclose(shares.sum(axis=1), 1)
    yes = learner(numbers(3), "binary-cross-entropy")
    assert yes.predict(X[:5]).tolist() == (yes.predict_proba(X[:5]) > 0.5).astype(int).tolist()
    one = learner(numbers(1), "binary-cross-entropy")
    assert one.predict(X[:5]).shape == one.predict_proba(X[:5]).shape == (5,)
    two = learner(numbers(2), "mse")
    two.fit(X, TWO, progress=False)
    np.testing.assert_array_equal(two.predict(X[:5]), two.logits(X[:5]))
    with pytest.raises(BadInput, match="predict_proba: expected a network that says classes"):
        two.predict_proba(X)


def test_figures_fit_the_loss() -> None:
    pixels = learner(MAP, "cross-entropy", ignore_index=2)
    said = pixels.predict(X)
    found = pixels.evaluate(X, PIXELS)
    counted = PIXELS != 2
    assert found.accuracy == pytest.approx((said == PIXELS)[counted].mean())
    unions = [((said == at) | (at == PIXELS))[counted].sum() for at in range(3)]
    both = [((said == at) & (at == PIXELS))[counted].sum() for at in range(3)]
    assert found.figures["mean_iou"] == pytest.approx(np.mean(
        [b / u for b, u in zip(both, unions) if u]))
    assert found.confusion.sum() == counted.sum() and "mean_iou" in found.text()
    yes = learner(numbers(3), "binary-cross-entropy")
    right, found = yes.predict(X) == YES, yes.evaluate(X, YES)
    assert found.accuracy == pytest.approx(right.mean())
    assert found.figures["all_right"] == pytest.approx(right.all(axis=1).mean())
    two = learner(numbers(2), "mse")
    error, found = two.logits(X) - TWO, two.evaluate(X, TWO)
    assert found.loss == pytest.approx(np.square(error).mean(), rel=1e-4)
    assert found.figures["rmse"] == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-4)
    assert found.figures["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)


def test_the_loss_of_an_evaluation_is_the_mean_over_what_counts() -> None:
    """Mini-batches count by their weights, also a last one that is smaller."""
    graph, loss, x, y, options = KINDS["some pixels"]
    own = learner(graph, loss, **options)
    outputs = own.logits(x[:20]).astype(np.float64)
    log = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    counted = y[:20] != 255
    labels = np.where(counted, y[:20], 0)
    weights = np.array([1, 2, 4])[labels] * counted
    each = -np.take_along_axis(log, labels[:, None], 1)[:, 0]
    assert own.evaluate(x[:20], y[:20]).loss == pytest.approx(
        (each * weights).sum() / weights.sum(), rel=1e-4)


def test_an_autoencoder_finds_what_is_unusual() -> None:
    own = learner(CODER, "mse")
    own.fit(FLAT, FLAT, epochs=30, progress=False)
    odd = np.random.default_rng(9).normal(0, 2, (20, 12)).astype(np.float32)
    usual = own.scores(FLAT)
    np.testing.assert_allclose(usual, np.square(own.predict(FLAT) - FLAT).mean(axis=1), rtol=1e-5)
    with pytest.raises(BadInput, match="anomalies: expected a threshold, found none; call fit_th"):
        own.anomalies(FLAT)
    assert own.fit_threshold(FLAT, 0.9) == own.threshold == np.quantile(usual, 0.9)
    assert own.anomalies(FLAT).mean() == pytest.approx(0.1, abs=0.03)
    assert own.anomalies(odd).mean() > 0.9


def test_images_as_targets_are_scaled_as_the_input_is() -> None:
    x = np.random.default_rng(3).integers(0, 256, (COUNT, 6, 6)).astype(np.uint8)
    own = learner(PICTURE, "mse", normalise=True)
    own.fit(x, x, epochs=20, progress=False)
    found = own.predict(x)
    assert found.shape == (COUNT, 1, 6, 6)
    # In the units of the model's images: 0 to 1 for bytes.
    assert np.abs(found[:, 0] - x / 255).mean() < 0.1
    assert own.scores(x).mean() == pytest.approx(own.evaluate(x, x).loss, rel=1e-3)


def test_a_squared_error_learns_labels_or_numbers() -> None:
    labels = PIXELS[:, 0, 0]
    own = learner(numbers(3), "mse")
    own.fit(X, labels, progress=False)
    assert not own.plan.loss.on_host and own.predict(X).shape == (COUNT,)
    kept = own.masters
    assert own.evaluate(X, np.eye(3)[labels]).figures["rmse"] > 0
    assert own.plan.loss.on_host
    assert all(one.same_bits(own.masters[name]) for name, one in kept.items())
    with pytest.raises(BadInput, match=r"targets: expected a number for each output: shape \(48, 3"
                                       r"\) or .*, found shape \(48,\); say loss='cross-entropy'"):
        own.fit(X, labels, progress=False)


def test_the_command_line_trains_on_targets_of_other_kinds(tmp_path: Path) -> None:
    data, model = tmp_path / "d.npz", tmp_path / "m.safetensors"
    x = np.random.default_rng(2).normal(0, 1, (COUNT, 1, 8, 8)).astype(np.float32)
    np.savez(data, x=x, y=TWO)
    common = ["--data", str(data), "--no-progress"]
    assert main(["train", "--model", "digits", "--loss", "huber", "--huber-delta", "0.5", "--batch",
                 "16", "--epochs", "2", "--out", str(model), *common]) == 0
    own = pt.load(model)
    assert own.loss == "huber" and own.graph.output_shape == (2, 1, 1)
    said = tmp_path / "said.json"
    assert main(["evaluate", "--model", str(model), "--json", str(said), "--data", str(data)]) == 0
    found = json.loads(said.read_text())
    assert found["accuracy"] is None and found["mae"] > 0
    np.savez(data, x=x, y=PIXELS[:, 0, 0])
    assert main(["train", "--model", "digits", "--class-weights", "1", "2", "3",
                 "--ignore-index", "1", "--batch", "16", "--epochs", "1", "--out", str(model),
                 *common]) == 0
    assert pt.load(model).plan.loss.weights == (1.0, 2.0, 3.0)


REFUSED: list[tuple[Graph, str, dict[str, Any], Any, str]] = [
    (MAP, "cross-entropy", {}, PIXELS[:, 0, 0], r"labels: expected a class number for each pixel: "
     r"integers of shape \(48, 6, 6\), found shape \(48,\)"),
    (MAP, "cross-entropy", {}, X[:, 0], "found dtype float32; number the classes from 0; for targ"),
    (MAP, "cross-entropy", {}, np.where(PIXELS == 2, 255, PIXELS),
     r"label of image \d+, row \d, column \d: expected 0..2 \(3 classes\), found 255; number .*"
     "or say ignore_index=255 for pixels that do not count"),
    (MAP, "cross-entropy", {"ignore_index": 7}, np.full_like(PIXELS, 7),
     r"labels: expected some that count, found ignore_index \(7\) everywhere"),
    (numbers(3), "cross-entropy", {"ignore_index": 7}, np.full(COUNT, 7), "everywhere"),
    (numbers(3), "cross-entropy", {}, TWO[:, 0], "expected integer labels"),
    (numbers(2), "mse", {}, np.where(TWO > 9, TWO, np.nan), "targets: expected finite"),
    (numbers(2), "mse", {}, X[:, 0], r"expected a number for each output: shape \(48, 2\) or .*, "
     r"found shape \(48, 6, 6\)"),
    (numbers(2), "mse", {}, 1e6 * TWO, r"targets: expected numbers of at most 2048 in magnitude, "
     "found .*; divide them by"),
    (numbers(1), "huber", {}, np.array(["a"] * COUNT), "a number for each output, found d"),
    (numbers(2), "huber", {}, PIXELS[:, 0, 0], "say loss='cross-entropy' to learn from labels"),
    (numbers(3), "binary-cross-entropy", {}, PIXELS[:, 0, 0], "say loss='cross-entropy'"),
    (numbers(3), "binary-cross-entropy", {}, 2.0 * YES, r"target of image \d+: expected 0 to 1 for "
     "each output, found 2.0; say loss='mse'"),
    (numbers(3), "binary-cross-entropy", {}, np.full((COUNT, 3), np.nan), "expected finite"),
    (numbers(3), "binary-cross-entropy", {"ignore_index": -1}, np.full((COUNT, 3), -1), "everywhe"),
    (PICTURE, "mse", {}, X[:40], "targets: expected 48 images, one for each of the .*, found 40"),
    (PICTURE, "mse", {}, X[:, :, :5, :5], "targets, which are images as those of the input"),
]


@pytest.mark.parametrize(("graph", "loss", "options", "y", "words"), REFUSED,
                         ids=[words[:40] for *_, words in REFUSED])
def test_targets_are_refused_with_a_sentence(graph: Graph, loss: str, options: dict[str, Any],
                                             y: Any, words: str) -> None:
    own = learner(graph, loss, **options)
    with pytest.raises(BadInput, match=words):
        own.fit(X, y, progress=False)
    assert own.steps == 0


@pytest.mark.parametrize(("loss", "options", "words"), [
    ("cross-entropy", {"class_weights": [1, 2]}, r"class_weights: expected 3 finite numbers of 0 or"
     r" more, one for each class, not all 0, found shape \(2,\)"),
    ("cross-entropy", {"class_weights": [1, -2, 1]}, "found -2.0 for class 1"),
    ("cross-entropy", {"class_weights": [1, np.nan, 1]}, "found nan for class 1"),
    ("cross-entropy", {"class_weights": [0, 0, 0]}, "found zeros alone"),
    ("cross-entropy", {"class_weights": "abc"}, "found 'abc'"),
    ("cross-entropy", {"class_weights": {"a": 1}}, "found {'a': 1}"),
    ("cross-entropy", {"class_weights": [1, 2, 3], "label_smoothing": 0.1},
     "label_smoothing: expected 0 with class_weights"),
    ("mse", {"class_weights": [1, 2, 3]}, "class_weights: expected none with mse, found 3; leave"),
    ("huber", {"ignore_index": 1}, "ignore_index: expected none with huber, found 1; leave it out"),
    ("huber", {"huber_delta": 0}, "huber_delta: expected a number above 0, at most 16384, found 0"),
    ("huber", {"huber_delta": "x"}, "huber_delta"),
    ("cross-entropy", {"ignore_index": 1.5}, "ignore_index: expected None or an integer"),
    ("binary-cross-entropy", {"label_smoothing": 0.1}, "label_smoothing: expected 0 with binary"),
])
def test_options_are_refused_with_a_sentence(loss: str, options: dict[str, Any], words: str
                                             ) -> None:
    with pytest.raises(BadInput, match=words):
        learner(numbers(3), loss, **options)


def test_a_loss_that_does_not_suit_the_end_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="say loss='binary-cross-entropy' for one output"):
        learner(numbers(1), "cross-entropy")
    with pytest.raises(UnknownName, match=r"unknown loss 'hubert'.*did you mean 'huber'"):
        learner(numbers(1), "hubert")
    with pytest.raises(BadInput, match="hls-csim: loss: expected cross-entropy"):
        pt.Learner(numbers(1), "hls-csim", loss="huber", optimizer=pt.SGD(0.1, momentum=0)).fit(
            X, TWO[:, 0], progress=False)


def test_callbacks_that_watch_an_accuracy_say_that_there_is_none(tmp_path: Path) -> None:
    own = learner(numbers(2), "mse")
    with pytest.raises(BadInput, match=r"accuracy: expected right and wrong answers.*watch 'loss'"):
        own.fit(X, TWO, progress=False, callbacks=[pt.callbacks.EarlyStopping("accuracy")])
