"""The commands member and fleet: results, exit codes, one clear sentence for every bad input."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_kit import REAL, ROOT, Fleet, free_address

from pynq_train.cli.main import main
from pynq_train.errors import BadInput
from pynq_train.fleet.unit import unit
from pynq_train.version import VERSION

Capture = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    return main([str(one) for one in arguments])


def refused(capsys: Capture, *arguments: object) -> str:
    """Message of a refused command: one line, no traceback."""
    code = run(*arguments)
    error = capsys.readouterr().err
    assert code != 0 and error.startswith("pynq-train: ") and error.count("\n") == 1
    return error.removeprefix("pynq-train: ").rstrip("\n")


@pytest.fixture(params=REAL)
def members(request: pytest.FixtureRequest, fleet_of: object) -> Iterator[tuple[Fleet, str, str]]:
    """A fleet with two members: name=address of both."""
    assert callable(fleet_of)
    fleet: Fleet = fleet_of(request.param)
    release = threading.Event()

    def handle(name: str, values: dict, arrays: dict) -> tuple[dict, dict]:
        assert release.wait(30)
        return {}, {}

    first, second = (f"{name}={fleet.member(name, handle)}" for name in ("b0", "b1"))
    yield fleet, first, second
    release.set()


def test_status(members: tuple[Fleet, str, str], keys: Path, tmp_path: Path,
                capsys: Capture) -> None:
    fleet, first, second = members
    joined = fleet.join("b1", second.partition("=")[2])
    asking = threading.Thread(target=joined.ask, args=("segment.forward",))
    asking.daemon = True
    asking.start()
    out = tmp_path / "status.json"
    options = ("--keys", keys, "--transport", fleet.kind)
    assert run("fleet", "status", first, *options, "--json", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"b0 {first.partition('=')[2]}: golden on ")
    assert f"version {VERSION}, contract " in lines[0] and lines[0].endswith("free")
    (said,) = json.loads(out.read_text())
    assert said["identity"]["board"] == "golden" and said["joined"] is False
    # One that does not answer is told, the others too.
    gone = f"b2={free_address()}"
    assert run("fleet", "status", gone, second, *options, "--seconds", 2, "--json", out) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "member 'b2' is lost" in lines[0]
    assert lines[1].endswith("works on segment.forward, 0 waiting")
    assert ["error" in one for one in json.loads(out.read_text())] == [True, False]


def test_bench(members: tuple[Fleet, str, str], keys: Path, tmp_path: Path, capsys: Capture
               ) -> None:
    fleet, first, second = members
    out = tmp_path / "links.json"
    assert run("fleet", "bench", first, second, "--keys", keys, "--transport", fleet.kind,
               "--rounds", 3, "--kbytes", 64, "--json", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["b0", "b1"]
    assert all("MB/s in one direction (measured: medians of 3" in line for line in lines[:2])
    for one in json.loads(out.read_text()):
        assert 0 < one["latency_s"] < 5 and one["bytes_per_s"] > 0
        assert (one["rounds"], one["nbytes"], one["kind"]) == (3, 64 << 10, "measured")


def test_keys(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "keys"
    assert run("fleet", "keys", folder, "b0", "b1") == 0
    text = capsys.readouterr().out
    assert f"member b1: copy {folder}/ca.pem, {folder}/b1.pem and {folder}/b1.key" in text
    assert run("fleet", "keys", folder, "b2") == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "b0.key", "b0.pem", "b1.key", "b1.pem", "b2.key", "b2.pem", "ca.key", "ca.pem",
        "coordinator.key", "coordinator.pem"]
    assert "has" not in refused(capsys, "fleet", "keys", folder, "b_3")
    assert "expected none, found one" in refused(capsys, "fleet", "keys", folder, "b0")
    assert "expected a name that no member has" in refused(
        capsys, "fleet", "keys", folder, "coordinator")


@pytest.mark.parametrize(("arguments", "text"), [
    (("fleet",), "the following arguments are required: ACTION"),
    (("fleet", "status"), "the following arguments are required"),
    (("fleet", "status", "b0"), "member: expected NAME=HOST:PORT, such as b0=192.168.2.99:7447"),
    (("fleet", "status", "b0=host"), "address of a member: expected HOST:PORT"),
    (("fleet", "status", "b_0=h:1"), "name of a member: expected 1 to 63 small letters"),
    (("fleet", "status", "b0=h:1", "b0=h:2"), "members: expected each name once"),
    (("fleet", "status", "b0=h:1", "--name", "nobody"), "certificates of 'nobody': expected a"),
    (("fleet", "status", "b0=h:1", "--transport", "pigeon"), "invalid choice: 'pigeon'"),
    (("fleet", "bench", "b0=127.0.0.1:9", "--rounds", "2", "--seconds", "1"), "'b0' is lost"),
    (("member", "--name", "b0", "--board", "pynq-z9"), "unknown board 'pynq-z9'"),
    (("member", "--name", "b0", "--board", "golden", "--listen", "7447"), "address of a member"),
    (("member", "--name", "b9", "--board", "golden"), "certificates of 'b9': expected a file"),
    (("member", "--name", "b0", "--board", "golden", "--listen", "192.0.2.1:7447"),
     "cannot listen at 192.0.2.1:7447"),
])
def test_bad_input(arguments: tuple[str, ...], text: str, keys: Path, capsys: Capture) -> None:
    more = () if arguments in (("fleet",),) else ("--keys", keys)
    assert text in refused(capsys, *arguments, *more)


def test_too_few_rounds(members: tuple[Fleet, str, str], keys: Path, capsys: Capture) -> None:
    fleet, first, _ = members
    options = ("--keys", keys, "--transport", fleet.kind)
    assert "rounds: expected an integer of 3 to 10000, found 2" in refused(
        capsys, "fleet", "bench", first, *options, "--rounds", 2)
    assert "large messages: expected at least 16384, found 1024" in refused(
        capsys, "fleet", "bench", first, *options, "--kbytes", 1)


@pytest.mark.medium
@pytest.mark.parametrize("kind", REAL)
def test_the_command_member_serves_until_it_is_told_to_stop(kind: str, keys: Path,
                                                            capsys: Capture) -> None:
    address = free_address()
    process = subprocess.Popen(
        [sys.executable, "-m", "pynq_train", "member", "--board", "golden", "--name", "b0",
         "--listen", address, "--keys", str(keys), "--transport", kind], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"member b0 (golden) listens at {address} ({kind})\n"
        assert run("fleet", "status", f"b0={address}", "--keys", keys, "--transport", kind) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout.read().endswith("member b0 has stopped\n")
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
    assert run("fleet", "status", f"b0={address}", "--keys", keys, "--transport", kind,
               "--seconds", 1) == 1


# ---- systemd -------------------------------------------------------------------------------------
def test_the_unit_starts_the_same_command(keys: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run("member", "--name", "b0", "--board", "golden", "--listen", "127.0.0.1:7447",
               "--keys", keys, "--transport", "zenoh", "--unit") == 0
    text = capsys.readouterr().out
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(text)
    service = parsed["Service"]
    assert service["Restart"] == "always" and service["KillSignal"] == "SIGTERM"
    command = service["ExecStart"]
    assert command.endswith(f" member --board golden --name b0 --listen 127.0.0.1:7447 --keys "
                            f"{keys.resolve()} --transport zenoh")
    assert parsed["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "pynq-train-member.service"
    path.write_text(unit("b0", "pynq-z2", ["/bin/echo", "member", "--name", "b0", "--keys",
                                           "/etc/pynq train"]))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], text=True,
                          capture_output=True, check=False, timeout=60)
    complaints = [line for line in (done.stdout + done.stderr).splitlines()
                  if "pynq-train-member" in line]
    assert complaints == []


def test_the_shell_line_of_the_unit_passes_arguments_on(tmp_path: Path) -> None:
    """What systemd would run, with its doubled dollars undone."""
    text = unit("b0", "golden", ["/bin/echo", "member", "--keys", "/etc/pynq train"])
    (line,) = [one for one in text.replace("\\\n", "").splitlines() if one.startswith("ExecStart=")]
    command = line.removeprefix("ExecStart=").replace("$$", "$")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "member --keys /etc/pynq train\n"


@pytest.mark.parametrize("word", ["a\nExecStart=/bin/rm", "50%", "$HOME", 'a"b', "a'b", "a\\b"])
def test_words_that_systemd_takes_otherwise(word: str) -> None:
    with pytest.raises(BadInput, match="argument of a systemd unit: expected no quotes"):
        unit("b0", "golden", ["/bin/echo", word])
