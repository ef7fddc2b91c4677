"""SGD: schedules and refused values."""

from __future__ import annotations

import math

import pytest

from pynq_train.errors import BadInput, UnknownName
from pynq_train.train import SGD


def test_rate_rises_over_the_warmup_and_falls_to_zero() -> None:
    sgd = SGD(lr=0.1, warmup_steps=10)
    rates = [sgd.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == pytest.approx(0.1)
    assert rates[10] == pytest.approx(0.1) and 0 < rates[-1] < 0.002
    assert sgd.rate(100, 100) == pytest.approx(0)


def test_warmup_is_a_quarter_of_a_short_training() -> None:
    assert SGD(lr=1.0, warmup_steps=50).rate(2, 8) == pytest.approx(1.0)


def test_cosine_matches_the_library_function() -> None:
    sgd = SGD(lr=1.0, schedule="cosine", warmup_steps=0)
    for step in range(101):
        wanted = 0.5 + 0.5 * math.cos(math.pi * step / 100)
        assert sgd.rate(step, 100) == pytest.approx(wanted, abs=1e-12)


def test_constant_stays() -> None:
    assert SGD(lr=0.3, schedule="constant", warmup_steps=0).rate(99, 100) == 0.3


def test_round_trip() -> None:
    sgd = SGD(lr=0.3, momentum=0.5, weight_decay=1e-4, schedule="cosine", warmup_steps=3)
    assert SGD.from_dict(sgd.to_dict()) == sgd


@pytest.mark.parametrize(("values", "text"), [
    ({"lr": float("nan")}, "lr: expected a number of 0 to 8, found nan"),
    ({"lr": -1}, "lr: expected a number of 0 to 8, found -1"),
    ({"momentum": 1.0}, "momentum: expected 0 to below 1, found 1.0"),
    ({"weight_decay": 0.5}, "weight_decay: expected a number of 0 to 0.03, found 0.5"),
    ({"warmup_steps": -1}, "warmup_steps: expected an integer of 0 or more, found -1"),
])
def test_bad_values_are_refused(values: dict[str, float], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        SGD(**values)  # type: ignore[arg-type]
    assert str(caught.value) == text


def test_unknown_schedule_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cosine'"):
        SGD(schedule="cosin")  # type: ignore[arg-type]
