"""Members of this process and as processes of their own, for tests of fleets."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pynq_train.fleet.identity import Identity
from pynq_train.fleet.member import Handler, Member, Service
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.transport.base import Beats, Transport
from pynq_train.fleet.transport.certificates import Credentials
from pynq_train.fleet.transport.in_process import InProcess
from pynq_train.fleet.transport.tls_socket import TlsSocket
from pynq_train.fleet.transport.zenoh_session import ZenohTransport

ROOT = Path(__file__).resolve().parents[3]
CHILD = Path(__file__).with_name("member_child.py")
MEMBERS = ("b0", "b1", "b2", "b3")
REAL = ("tls", "zenoh")
"""Transports between processes."""
KINDS = ("in_process", *REAL)
LEASE_S = 1.5


def free_address() -> str:
    """An address of this machine that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass
class Fleet:
    """Members of this process, and the coordinator's transport."""

    kind: str
    folder: Path
    stack: contextlib.ExitStack
    hub: InProcess = field(default_factory=lambda: InProcess(Beats(LEASE_S)))

    def transport(self, name: str) -> Transport:
        if self.kind == "in_process":
            return self.hub
        if self.kind == "zenoh":
            pytest.importorskip("zenoh")
        credentials = Credentials.of(self.folder, name)
        made: Transport = (TlsSocket if self.kind == "tls" else ZenohTransport)(
            credentials, Beats(LEASE_S))
        self.stack.callback(made.close)
        return made

    def member(self, name: str, handle: Handler, close: Callable[[], None] = lambda: None,
               identity: Identity | None = None) -> str:
        """Start a member in this process; return its address."""
        served = Member(identity or Identity.of(name, "golden"), lambda: Service(handle, close))
        self.stack.callback(served.close)
        listener = served.listen(self.transport(name), free_address())
        self.stack.callback(listener.close)
        return listener.address

    def join(self, name: str, address: str) -> Remote:
        remote = Remote.join(self.transport("coordinator"), name, address)
        self.stack.callback(remote.close)
        return remote


@dataclass
class Child:
    """A member that is a process of its own."""

    name: str
    address: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        assert until(self._stands), "the process has not stopped"

    def _stands(self) -> bool:
        """Whether all threads have stopped: the signal takes its time on a busy machine."""
        states = [task.joinpath("stat").read_text().rpartition(")")[2].split()[0]
                  for task in Path(f"/proc/{self.process.pid}/task").iterdir()]
        return set(states) == {"T"}

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


Spawn = Callable[..., Child]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for a condition; the bound is generous, and only reached where a test fails."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
