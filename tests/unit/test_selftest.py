"""The self-test that is delivered holds what this tree computes."""

from __future__ import annotations

import pytest

from pynq_train.selftest import digests

WHY = {"contract": "what the hardware decodes has changed", "programs": "programs have changed",
       "results": "trainings come out otherwise"}


@pytest.mark.parametrize("kind", sorted(WHY))
def test_the_digests_are_current(kind: str) -> None:
    computed, stored = digests.computed()[kind], digests.stored()[kind]
    assert set(stored) == set(computed)
    stale = [name for name, digest in computed.items() if stored[name] != digest]
    assert stale == [], f"{WHY[kind]}: if that is meant, run make gen and say so in CHANGELOG.md"


def test_every_kind_has_its_digests() -> None:
    assert set(digests.stored()) == set(WHY)
    assert all(len(one) == 64 for kind in digests.stored().values() for one in kind.values())
