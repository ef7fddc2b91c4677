"""Error texts say what was expected, what was found and what to do."""

from __future__ import annotations

import inspect

import pytest

from pynq_train import errors


def test_text_is_assembled_in_order() -> None:
    error = errors.BadInput("labels", expected="0..9", found=12, fix="number classes from 0")
    assert str(error) == "labels: expected 0..9, found 12; number classes from 0"


def test_a_plain_sentence_stays_as_it_is() -> None:
    assert str(errors.HardwareFault("the engine stopped")) == "the engine stopped"


def test_found_zero_is_shown() -> None:
    assert str(errors.BadInput("batch", expected="at least 1", found=0)).endswith("found 0")


def test_unknown_name_lists_names_and_suggests() -> None:
    error = errors.UnknownName.among("board", "pynq-zz", ["pynq-z2", "ultra96"])
    assert str(error) == (
        "unknown board 'pynq-zz': expected one of pynq-z2, ultra96; did you mean 'pynq-z2'?"
    )
    assert "did you mean" not in str(errors.UnknownName.among("board", "xyz", ["pynq-z2"]))


def test_every_error_has_a_base_a_docstring_and_an_exit_code() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)
               if c.__module__ == errors.__name__]
    assert len(classes) >= 10
    for cls in classes:
        if issubclass(cls, Warning):
            assert cls.__doc__
            continue
        assert issubclass(cls, errors.PynqTrainError)
        assert cls.__doc__ and 1 <= cls.exit_code < 126


def test_timeout_is_caught_as_hardware_fault() -> None:
    with pytest.raises(errors.HardwareFault):
        raise errors.Timeout("the engine did not finish")
