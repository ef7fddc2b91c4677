"""The self-test that is delivered holds what this tree computes."""

from __future__ import annotations

from pynq_train.selftest import digests


def test_the_digests_are_current() -> None:
    computed, stored = digests.computed(), digests.stored()
    assert set(stored) == set(computed)
    stale = [name for name, digest in computed.items() if stored[name] != digest]
    assert stale == [], "digests.json differs: run make gen"
