"""Certificates, transports and members for tests; whatever a test starts is stopped again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet_kit import CHILD, KINDS, LEASE_S, MEMBERS, ROOT, Child, Fleet, Spawn, free_address

from pynq_train.fleet.keys import make_authority, make_certificate


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the certificates of four members and a coordinator."""
    if shutil.which("openssl") is None:
        pytest.skip("no program openssl on this machine")
    folder = tmp_path_factory.mktemp("keys")
    make_authority(folder)
    for name in MEMBERS:
        make_certificate(folder, name)
    make_certificate(folder, "coordinator", coordinator=True)
    return folder


@pytest.fixture
def fleet_of(keys: Path) -> Iterator[Callable[[str], Fleet]]:
    """Makes fleets over a transport."""
    with contextlib.ExitStack() as stack:
        yield lambda kind: Fleet(kind, keys, stack)


@pytest.fixture(params=KINDS)
def fleet(fleet_of: Callable[[str], Fleet], request: pytest.FixtureRequest) -> Fleet:
    """A fleet over each transport."""
    return fleet_of(request.param)


@pytest.fixture
def spawn(keys: Path) -> Iterator[Spawn]:
    """Start members as processes; each is killed at the end of the test, stopped ones too."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str, kind: str, address: str | None = None) -> Child:
        if kind == "zenoh":
            pytest.importorskip("zenoh")
        address = address or free_address()
        process = subprocess.Popen(
            [sys.executable, str(CHILD), kind, str(keys), name, address, str(LEASE_S)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.strip() == "ready", f"member {name} did not start: {line!r}"
        return Child(name, address, process)

    try:
        yield start
    finally:
        for process in running:
            process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
