"""The commands member and fleet: boards that train together."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from pynq_train.cli.commands import write_json
from pynq_train.errors import BadInput, FleetError
from pynq_train.fleet.identity import Identity
from pynq_train.fleet.keys import make_authority, make_certificate
from pynq_train.fleet.links import measure
from pynq_train.fleet.member import Member
from pynq_train.fleet.members import COORDINATOR
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.service import BoardHost
from pynq_train.fleet.transport.base import Transport, check_name, host_and_port
from pynq_train.fleet.transport.choice import TRANSPORTS, make_transport
from pynq_train.fleet.unit import unit

LISTEN = "0.0.0.0:7447"
"""Where a member listens: on all networks, at the port that zenoh has of old."""

__all__ = ["COORDINATOR", "LISTEN", "TRANSPORTS", "bench", "keys", "member", "status"]


def member(options: argparse.Namespace) -> int:
    """Run ``pynq-train member``: serve the board until the process is told to stop."""
    identity = Identity.of(options.name, options.board)
    host_and_port(options.listen)
    if options.unit:
        print(unit(options.name, options.board, _command(options)), end="")
        return 0
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    with transport_of(options, options.name) as transport:
        before = signal.signal(signal.SIGTERM, end)
        served = Member(identity, BoardHost(options.board).serve, log=_say)
        try:
            listener = served.listen(transport, options.listen)
            _say(f"member {options.name} ({options.board}) listens at {listener.address} "
                 f"({options.transport})")
            stop.wait()
        finally:
            served.close()
            signal.signal(signal.SIGTERM, before)
    _say(f"member {options.name} has stopped")
    return 0


def status(options: argparse.Namespace) -> int:
    """Run ``pynq-train fleet status``: one line per member; return 1 if one is not well."""
    found: list[dict[str, Any]] = []
    with transport_of(options, options.name) as transport:
        for name, address in addresses(options.members).items():
            try:
                with Remote.call(transport, name, address, options.seconds) as remote:
                    values = remote.status(options.seconds)
                who = Identity.from_values(values["identity"])
                who.check(name)
            except FleetError as error:
                found.append({"name": name, "address": address, "error": str(error)})
                print(f"{name} {address}: {error}")
                continue
            found.append({"name": name, "address": address, **values})
            print(f"{name} {address}: {who.board} on {who.machine}, version {who.version}, "
                  f"contract {who.contract[:8]}, {_doing(values)}")
    if options.json:
        write_json(options.json, found)
    return int(any("error" in one for one in found))


def keys(options: argparse.Namespace) -> int:
    """Run ``pynq-train fleet keys``: make what is missing, say which files go where."""
    for name in {options.coordinator, *options.names}:
        check_name(name)
    if options.coordinator in options.names:
        raise BadInput(f"{options.coordinator!r}", expected="a name that no member has",
                       found="one of both", fix="choose another --coordinator")
    authority = make_authority(options.folder)
    print(f"authority {authority} (its key never leaves this folder)")
    if not (options.folder / f"{options.coordinator}.pem").exists():
        made = make_certificate(options.folder, options.coordinator, coordinator=True)
        print(f"coordinator: {made.certificate}, {made.key}")
    for name in options.names:
        made = make_certificate(options.folder, name)
        print(f"member {name}: copy {authority}, {made.certificate} and {made.key} to its board")
    return 0


def bench(options: argparse.Namespace) -> int:
    """Run ``pynq-train fleet bench``: measure the links, one after another."""
    found = []
    with transport_of(options, options.name) as transport:
        for name, address in addresses(options.members).items():
            with Remote.call(transport, name, address, options.seconds) as remote:
                cost = measure(remote, options.rounds, options.kbytes << 10)
            print(f"{cost.text()}, {options.transport}", flush=True)
            found.append({**cost.values(), "address": address, "transport": options.transport})
    if options.json:
        write_json(options.json, found)
    return 0


def addresses(members: list[str]) -> dict[str, str]:
    """Return the addresses of members by name.

    Raises:
        BadInput: an argument is not ``NAME=HOST:PORT``, or a name stands twice.
    """
    found: dict[str, str] = {}
    for text in members:
        name, sign, address = text.partition("=")
        if not sign:
            raise BadInput("member", expected="NAME=HOST:PORT, such as b0=192.168.2.99:7447",
                           found=repr(text)[:80])
        host_and_port(address)
        if check_name(name) in found:
            raise BadInput("members", expected="each name once", found=f"{name!r} twice")
        found[name] = address
    return found


@contextlib.contextmanager
def transport_of(options: argparse.Namespace, name: str) -> Iterator[Transport]:
    """The transport of a command line; all its connections are closed at the end."""
    transport = make_transport(options.transport, options.keys, name)
    try:
        yield transport
    finally:
        transport.close()


def _command(options: argparse.Namespace) -> list[str]:
    """Return the command that a systemd unit starts."""
    program = shutil.which("pynq-train")
    begin = [program] if program else [sys.executable, "-m", "pynq_train"]
    return [*begin, "member", "--board", options.board, "--name", options.name, "--listen",
            options.listen, "--keys", str(Path(options.keys).resolve()), "--transport",
            options.transport]


def _doing(values: dict[str, Any]) -> str:
    """Return what a member does, as a few words."""
    if values["working_on"]:
        return f"works on {values['working_on']}, {values['waiting']} waiting"
    return "joined, idle" if values["joined"] else "free"


def _say(text: str) -> None:
    print(text, flush=True)
