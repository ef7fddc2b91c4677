"""Links and power: what texts mean, what is refused."""

from __future__ import annotations

import re

import pytest

from pynq_train.errors import BadInput
from pynq_train.fleet.link import Link
from pynq_train.fleet.power import Power


@pytest.mark.parametrize(("text", "rate", "latency"), [
    ("100mbit", 12.5e6, 0.0), ("1Gbit/s", 125e6, 0.0), ("11MB/s", 11e6, 0.0),
    ("2.5 mb, 0.3 ms", 2.5e6, 3e-4), ("64kbit,2s", 8e3, 2.0), ("1e2kB/s,50us", 1e5, 5e-5)])
def test_texts_of_links(text: str, rate: float, latency: float) -> None:
    link = Link.parse(text)
    assert (link.bytes_per_s, link.latency_s) == (pytest.approx(rate), pytest.approx(latency))
    assert link.seconds(1000) == pytest.approx(latency + 1000 / rate)


@pytest.mark.parametrize(("text", "words"), [
    ("0mbit", "expected more than 0 bytes a second, found 0"),
    ("-3mbit", "expected more than 0 bytes a second"),
    ("1gbit,-1ms", "expected a latency of 0 seconds or more"),
    ("100", "expected a rate and perhaps a latency"),
    ("fast", "found 'fast'"), ("100mbit,", "expected a rate"), ("1e999mbit", "more than 0 bytes"),
    ("..mbit", "expected a rate")])
def test_wrong_links(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)):
        Link.parse(text)


def test_measured_links() -> None:
    found = Link.slowest([{"bytes_per_s": 5e6, "latency_s": 1e-3, "member": "a"},
                          {"bytes_per_s": 9e6, "latency_s": 3e-3}])
    assert found == Link(5e6, 3e-3, "measured")
    for wrong in ([], {"a": 1}, [{"bytes_per_s": 1}], None):
        with pytest.raises(BadInput, match="links: expected the values that"):
            Link.slowest(wrong)


def test_power_of_a_text() -> None:
    assert Power.parse("3,2") == Power(3.0, 2.0, 3.0)
    assert Power.parse("3,1,2.5").handling_w == 2.5


@pytest.mark.parametrize(("text", "words"), [
    ("0,0", "power, compute: expected watts above 0"), ("3,-1", "power, idle: expected"),
    ("3,1,0", "power, host: expected watts above 0"), ("3", "watts at work and idle"),
    ("a,b", "found 'a,b'"), ("nan,1", "power, compute"), ("inf,1", "power, compute"),
    ("1,2", "expected at most as much in idleness as at work"),
    ("3,2,1", "found 2 W idle, 1 W at work")])
def test_wrong_power(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)):
        Power.parse(text)


def test_energy_of_a_period() -> None:
    assert Power(4.0, 1.0, 2.0).energy(0.5, 0.25, 1.0) == pytest.approx(2 + 0.5 + 0.25)
    assert Power(4.0, 1.0).energy(1.0, 0.0, 1.0) == pytest.approx(4.0)
