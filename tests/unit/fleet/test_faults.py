"""Members that are killed, stopped, cut off or slow: a typed error within seconds, never a hang."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fleet_kit import LEASE_S, REAL, ROOT, Fleet, Spawn, until
from relay import Relay

from pynq_train.errors import MemberLost, Overdue
from pynq_train.fleet.links import measure
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.transport.base import Beats
from pynq_train.fleet.wire import Arrays, Values

NOTICED_S = 10.0
"""Within which a lost member has to be noticed here: its lease is 1.5 s, machines are busy."""
LONG_S = 60.0
"""A deadline that only a member that is not noticed reaches."""


@pytest.fixture(params=REAL)
def real(fleet_of: Callable[[str], Fleet], request: pytest.FixtureRequest) -> Fleet:
    """The transports between processes."""
    return fleet_of(request.param)


def noticed(ask: Callable[[], object]) -> float:
    """Return after how many seconds a question ends with the error of a lost member."""
    begin = time.monotonic()
    with pytest.raises(MemberLost, match="is lost") as caught:
        ask()
    assert not isinstance(caught.value, Overdue) and caught.value.member == "b0"
    return time.monotonic() - begin


@pytest.mark.medium
def test_a_member_that_is_killed_is_noticed_and_comes_back(real: Fleet, spawn: Spawn) -> None:
    child = spawn("b0", real.kind)
    joined = real.join("b0", child.address)
    timer = threading.Timer(0.2, child.kill)
    timer.start()
    assert noticed(lambda: joined.ask("sleep", {"seconds": LONG_S}, seconds=LONG_S)) < NOTICED_S
    timer.join()
    assert joined.lost
    # Nobody waits for a member that is known to be lost.
    assert noticed(lambda: joined.ask("add", {"by": 1}, seconds=LONG_S)) < 1.0
    child = spawn("b0", real.kind, child.address)
    again = real.join("b0", child.address)
    assert again.ask("add", {"by": 2}, {"x": np.ones(3, np.int16)})[1]["x"].tolist() == [3, 3, 3]
    # Started anew behind the coordinator's back, where a transport connects again by itself, it is
    # not the member of before: that session is gone.
    child.kill()
    spawn("b0", real.kind, child.address)
    time.sleep(2 * LEASE_S)
    assert noticed(lambda: again.ask("read", seconds=LONG_S)) < NOTICED_S
    assert again.lost and joined.lost


@pytest.mark.medium
def test_a_member_that_hangs_is_noticed_and_has_to_be_joined_again(real: Fleet,
                                                                   spawn: Spawn) -> None:
    child = spawn("b0", real.kind)
    joined = real.join("b0", child.address)
    joined.ask("write", arrays={"weights": np.arange(64, dtype=np.int32)})
    child.stop()
    assert noticed(lambda: joined.ask("add", {"by": 1}, seconds=LONG_S)) < NOTICED_S
    child.go_on()
    assert noticed(lambda: joined.ask("add", {"by": 1}, seconds=LONG_S)) < 1.0
    # Nothing of the session before is left: what it had carried out is not known.
    again = real.join("b0", child.address)
    assert not again.ask("read")[1]["weights"].any()
    # A request that fills all buffers on the way ends too.
    child.stop()
    data = {"x": np.zeros(12 << 20, np.uint8)}
    assert noticed(lambda: again.ask("add", {"by": 1}, data, seconds=LONG_S)) < NOTICED_S
    child.go_on()
    # Idle for longer than the lease is not lost: signs of life are sent. Without them it is.
    idle = real.join("b0", child.address)
    time.sleep(2 * LEASE_S)
    assert not idle.lost
    child.stop()
    assert until(lambda: idle.lost, NOTICED_S)


@pytest.mark.medium
def test_a_coordinator_that_is_killed_and_started_again_is_let_in(real: Fleet,
                                                                  spawn: Spawn) -> None:
    child = spawn("b0", real.kind)
    first = subprocess.Popen(
        [sys.executable, "-c", _COORDINATOR, real.kind, str(real.folder), child.address],
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert until(lambda: joined_by_another(real, child.address))
    finally:
        first.kill()
        first.wait(10)
    again = real.join("b0", child.address)
    assert again.ask("add", {"by": 1}, {"x": np.ones(1, np.int16)})[1]["x"].tolist() == [2]


def joined_by_another(fleet: Fleet, address: str) -> bool:
    with Remote.call(fleet.transport("coordinator"), "b0", address) as caller:
        return bool(caller.status()["joined"])


_COORDINATOR = """
import sys, time
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.transport.certificates import Credentials
kind, folder, address = sys.argv[1:]
if kind == "tls":
    from pynq_train.fleet.transport.tls_socket import TlsSocket as Kind
else:
    from pynq_train.fleet.transport.zenoh_session import ZenohTransport as Kind
remote = Remote.join(Kind(Credentials.of(folder, "coordinator")), "b0", address)
time.sleep(60)
"""


# ---- links ---------------------------------------------------------------------------------------
@pytest.fixture
def adder(real: Fleet) -> Iterator[str]:
    """Address of a member that adds."""
    def handle(name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
        return {}, {key: array + 1 for key, array in arrays.items()}

    yield real.member("b0", handle)


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_a_link_that_breaks_is_noticed(fault: str, real: Fleet, adder: str) -> None:
    with Relay(adder) as relay:
        joined = real.join("b0", relay.address)
        joined.ask("add", arrays={"x": np.zeros(9, np.int16)})
        getattr(relay, fault)()
        data = {"x": np.zeros(9, np.int16)}
        assert noticed(lambda: joined.ask("add", arrays=data, seconds=LONG_S)) < NOTICED_S
        relay.flow()
        if fault == "silence":
            again = real.join("b0", relay.address)
            assert again.ask("add", arrays=data)[1]["x"].tolist() == [1] * 9


def test_a_slow_link_is_not_a_lost_one(real: Fleet, adder: str) -> None:
    """A message takes longer than the lease: its own bytes are signs of life."""
    with Relay(adder, bytes_per_s=400e3) as relay:
        joined = real.join("b0", relay.address)
        x = np.zeros(int(400e3 * 1.5 * LEASE_S), np.uint8)
        begin = time.monotonic()
        assert joined.ask("add", arrays={"x": x}, seconds=LONG_S)[1]["x"].all()
        assert time.monotonic() - begin > 2 * LEASE_S
        assert not joined.lost


def test_latency_and_bandwidth_are_measured(real: Fleet, adder: str) -> None:
    with Relay(adder, delay_s=0.02, bytes_per_s=4e6) as relay:
        joined = real.join("b0", relay.address)
        cost = measure(joined, rounds=3, nbytes=1 << 20)
    assert 0.02 <= cost.latency_s < 0.2
    assert 0.5e6 < cost.bytes_per_s < 4.4e6
    assert cost.seconds(1 << 20) >= 0.02 + (1 << 20) / 4.4e6
    assert "b0: " in cost.text() and "measured" in cost.text()
    assert cost.values()["bytes_per_s"] == cost.bytes_per_s


# ---- within one process --------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_faults_of_the_transport_for_tests(fault: str, fleet_of: Callable[[str], Fleet]) -> None:
    fleet = fleet_of("in_process")
    fleet.hub.beats = Beats(0.2)
    address = fleet.member("b0", lambda name, values, arrays: ({}, {}))
    joined = fleet.join("b0", address)
    joined.ask("x")
    getattr(fleet.hub, fault)(address)
    assert noticed(lambda: joined.ask("x", seconds=LONG_S)) < NOTICED_S
    assert joined.lost
