"""Labels may be names: they are kept with the learner, and answers come back as names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import Graph
from pynq_train.train.class_names import ClassNames
from pynq_train.train.history import Evaluation

Data = tuple[np.ndarray, np.ndarray]
NAMES = np.array(["owl", "cat", "dog"])
"""Names of the classes 0, 1, 2 of the data; in order: cat (1), dog (2), owl (0)."""


def learner(net: Graph, **options: Any) -> pt.Learner:
    return pt.Learner(net, batch=8, optimizer=pt.SGD(0.1), **options)


@pytest.mark.parametrize("kind", [np.asarray, lambda y: y.astype("S"), lambda y: y.astype(object),
                                  lambda y: y.tolist()])
def test_names_as_labels(net: Graph, data: Data, kind: Any, tmp_path: Path) -> None:
    x, y = data[0], kind(NAMES[data[1]])
    one = learner(net)
    one.fit(x, y, 8, validation_data=(x, y), progress=False)
    numbers = learner(net)
    numbers.fit(x, np.array([2, 0, 1])[data[1]], 8, progress=False)
    assert one.history.batch_losses == numbers.history.batch_losses
    assert one.class_names == ("cat", "dog", "owl") and "classes cat, dog, owl" in repr(one)
    found = one.predict(x)
    assert found.dtype.kind == "U" and found.tolist() == np.array(one.class_names)[
        one.predict(x, names=False)].tolist()
    assert (found == NAMES[data[1]]).mean() == one.evaluate(x, y).accuracy > 0.9
    last = one.history.epochs[-1]
    assert last.val_accuracy == one.evaluate(x, y).accuracy
    one.save(tmp_path / "a.safetensors")
    for again in (pt.load(tmp_path / "a.safetensors", board="golden"),
                  pickle.loads(pickle.dumps(one))):
        assert again.class_names == one.class_names
        assert again.predict(x).tolist() == found.tolist()
        again.fit(x, y, progress=False)


def test_numbers_stay_numbers(net: Graph, data: Data) -> None:
    one = learner(net, class_names=NAMES)
    one.fit(*data, 2, progress=False)
    assert one.predict(data[0]).dtype == np.int64
    assert one.predict(data[0], names=True).tolist() == NAMES[one.predict(data[0])].tolist()
    assert one.evaluate(data[0], NAMES[data[1]]) == one.evaluate(*data)  # in the given order


def test_numerals_are_in_the_order_of_their_values() -> None:
    y = np.array(["10", "9", "2", "10"])
    labels, names = ClassNames().numbered(y, 4, 5, learn=True)
    assert names.names == ("2", "9", "10") and labels.tolist() == [2, 1, 0, 2]
    labels, names = names.numbered(np.array(["3", "2", "2", "3"]), 4, 5, learn=True)
    assert names.names == ("2", "9", "10", "3") and labels.tolist() == [3, 0, 0, 3]
    assert names.answer(True, 5)(np.array([4, 3])).tolist() == ["4", "3"]


def test_a_network_that_was_trained_elsewhere_wants_to_know(net: Graph, data: Data) -> None:
    model = pt.Model(net, pt.Learner(net).params)
    y = NAMES[data[1]]
    trained = learner(net)
    trained.fit(*data, progress=False)
    for one in (learner(model), trained):
        for ask in (one.fit, one.evaluate):
            with pytest.raises(BadInput, match=r"nobody has said which output of this trained "
                               r"network is which class, found names such as 'cat'; say "
                               r"class_names=\[...\]"):
                ask(data[0], y)
        one.class_names = NAMES.tolist()
        assert one.evaluate(data[0], y) == one.evaluate(*data)


@pytest.mark.parametrize(("labels", "text"), [
    (["cat", "dog", "owl", "yak"], "labels: expected at most 3 classes, found 4 names: cat, dog, "
     "owl, yak; use a network with more logits"),
    (["cat", 3, "owl", "owl"], "expected names of classes, or integers, for all images, found 3 "
     "for image 1"),
    (["cat", None, "owl", "owl"], "found None for image 1"),
    (["cat", "", "owl", "owl"], "class name: expected 1 to 200 characters"),
    (["cat", "a\nb", "owl", "owl"], r"found 'a\nb'"),
    ([b"cat", b"\xff", b"owl", b"owl"], "labels: expected names of classes as text"),
    ([["cat"], ["dog"], ["owl"], ["cat"]], "labels: expected one per image, shape (4,), found "
     "(4, 1)"),
    ([1.0, 2.0, 0.0, 1.0], "expected integer labels, found dtype float64; number the classes from "
     "0, or name them: strings")])
def test_labels_that_are_refused(net: Graph, data: Data, labels: list[Any], text: str) -> None:
    y = np.array(labels, dtype=object if any(type(one) is not type(labels[0]) for one in labels)
                 else None)
    one = pt.Learner(net, batch=4)
    with pytest.raises(BadInput) as caught:
        one.fit(data[0][:4], y, progress=False)
    assert text in str(caught.value) and one.class_names == ()


def test_characters_that_are_none() -> None:
    odd = np.array([0x110000, 0x41], np.uint32).view("U1")
    with pytest.raises(BadInput, match="labels: expected names of classes as text"):
        ClassNames().numbered(odd, 2, 3, learn=True)


def test_names_that_are_not_known(net: Graph, data: Data) -> None:
    one = learner(net)
    with pytest.raises(BadInput, match="no class has a name, found names such as 'cat'"):
        one.evaluate(data[0], NAMES[data[1]])
    with pytest.raises(BadInput, match="names=True: expected classes that have names"):
        one.predict(data[0], names=True)
    one.fit(data[0], NAMES[data[1]], progress=False)
    for ask in (one.evaluate, one.fit):
        with pytest.raises(UnknownName, match=r"unknown class 'cta'.*did you mean 'cat'"):
            ask(data[0][:8], np.array(["cat", "cta"] * 4))
    with pytest.raises(UnknownName, match="unknown class 'yak'"):
        one.fit(*data, validation_data=(data[0][:1], ["yak"]), progress=False)


def test_a_class_that_comes_later(net: Graph, data: Data) -> None:
    early = data[1] < 2
    one = learner(net)
    with pytest.warns(pt.DataWarning, match="expected each of 3 classes, found none of 2"):
        one.fit(data[0][early], NAMES[data[1][early]], progress=False)
    assert one.class_names == ("cat", "owl")
    one.fit(data[0], NAMES[data[1]], progress=False)
    assert one.class_names == ("cat", "owl", "dog")
    assert learner(net, class_names=["x", "y", "z"]).class_names == ("x", "y", "z")


def test_a_training_that_fails_teaches_no_names(net: Graph, data: Data) -> None:
    one = learner(net)
    with pytest.raises(BadInput, match="at least one mini-batch"):
        one.fit(data[0][:4], NAMES[data[1][:4]], progress=False)
    assert one.class_names == ()


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"], "abc", [1, 2, 3],
                                   ["a", "b", "b"], ["a", "b", ""], 5])
def test_given_names_that_are_refused(net: Graph, names: Any) -> None:
    with pytest.raises(BadInput, match=r"class_?\s?name"):
        pt.Learner(net, class_names=names)


def test_forged_names_in_a_file(net: Graph) -> None:
    for state in ({"class_names": ["a"] * 2}, {"class_names": ["a", "b", "c", "d"]},
                  {"class_names": ["\x1b[2J"]}):
        with pytest.raises(BadInput, match="class name"):
            ClassNames.from_state(state, 3)
    assert ClassNames.from_state({}, 3) == ClassNames()


def test_float_training_takes_names(net: Graph, data: Data) -> None:
    y = NAMES[data[1]]
    one = pt.fit_float(net, data[0], y, epochs=2, batch=8, validation_data=(data[0], y))
    other = pt.fit_float(net, data[0], np.array([2, 0, 1])[data[1]], epochs=2, batch=8)
    assert one.batch_losses == other.batch_losses
    assert one.epochs[-1].val_accuracy is not None and one.epochs[-1].val_accuracy > 0.5


# -- evaluations -----------------------------------------------------------------------------------

def test_an_evaluation_counts_by_class(net: Graph, data: Data) -> None:
    one = learner(net)
    x, y = data[0], NAMES[data[1]]
    one.fit(x, y, 1, progress=False)
    result, found = one.evaluate(x, y), one.predict(x)
    assert (result.loss, result.accuracy) == tuple(result)
    for at, name in enumerate(one.class_names):
        for column, other in enumerate(one.class_names):
            assert result.confusion[at, column] == ((y == name) & (found == other)).sum()
    assert np.trace(result.confusion) == round(result.accuracy * len(x))
    assert result.by_class() == {name: (int((y == name).sum()),
                                        int(((y == name) & (found == name)).sum()))
                                 for name in ("cat", "dog", "owl")}


def test_text_of_an_evaluation() -> None:
    confusion = np.array([[5, 0, 0], [1, 3, 2], [0, 0, 0]])
    result = Evaluation(0.5, 8 / 11, 0, confusion, ("cat", "tapir"))
    assert result.text() == "cat    5 of 5 right\ntapir  3 of 6 right, 2 taken for 2"
    assert Evaluation(0.5, 0.5).text() == "" and Evaluation(0.5, 0.5).by_class() == {}
