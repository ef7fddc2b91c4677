"""Certificates: made by openssl, taken by both transports; foreign ones are refused at connect."""

from __future__ import annotations

import datetime
import os
import shutil
import ssl
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from fleet_kit import REAL, Fleet

from pynq_train.errors import BadInput, JoinRefused, MissingTool
from pynq_train.fleet.keys import make_authority, make_certificate
from pynq_train.fleet.transport.certificates import Credentials
from pynq_train.fleet.wire import Arrays, Values


def handle(name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
    return {}, {}


@pytest.fixture(params=REAL)
def real(fleet_of: Callable[[str], Fleet], request: pytest.FixtureRequest) -> Fleet:
    """The transports that have certificates."""
    return fleet_of(request.param)


def copy(source: Path, target: Path, **names: str) -> Path:
    """A folder with files of another, some under other names (``new=old``)."""
    target.mkdir()
    for path in source.iterdir():
        shutil.copy(path, target / path.name)
    for new, old in names.items():
        for end in ("pem", "key"):
            shutil.copy(source / f"{old}.{end}", target / f"{new}.{end}")
    return target


def foreign(folder: Path, *names: str) -> Path:
    """A folder of another authority, with certificates for ``names``."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in names:
        made = authority.issue_cert(name, common_name=name)
        made.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        made.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


def refused(fleet: Fleet, address: str, text: str) -> None:
    """A coordinator with the files of the fleet's folder is not let in."""
    with pytest.raises(JoinRefused, match="member 'b0' and this machine do not trust each other "
                       rf"\({text}.*fleet keys.*clocks"):
        fleet.join("b0", address)


def test_the_fleets_own_certificates_are_taken(real: Fleet) -> None:
    assert real.join("b0", real.member("b0", handle)).ask("x") == ({}, {})


def test_others_made_by_another_program_are_taken(real: Fleet, tmp_path: Path) -> None:
    real.folder = foreign(tmp_path / "whole", "b0", "coordinator")
    assert real.join("b0", real.member("b0", handle)).ask("x") == ({}, {})


def test_a_coordinator_of_a_foreign_authority_is_refused(real: Fleet, tmp_path: Path) -> None:
    address = real.member("b0", handle)
    real.folder = foreign(tmp_path / "foreign", "coordinator")
    refused(real, address, "self-signed|unable to get local issuer|certificate")


def test_a_member_refuses_a_coordinator_of_a_foreign_authority(real: Fleet, keys: Path,
                                                               tmp_path: Path) -> None:
    """The coordinator trusts the member, but not the other way round."""
    address = real.member("b0", handle)
    real.folder = foreign(tmp_path / "mixed", "coordinator")
    shutil.copy(keys / "ca.pem", real.folder / "ca.pem")
    refused(real, address, ".*(unknown ca|decrypt error|bad certificate|was closed|reset)")


def test_a_member_with_another_name_is_refused(real: Fleet, keys: Path, tmp_path: Path) -> None:
    real.folder = copy(keys, tmp_path / "renamed", b0="b1")
    refused(real, real.member("b0", handle), ".*[Hh]ostname mismatch")


def test_the_keys_of_a_member_command_no_other(real: Fleet, keys: Path, tmp_path: Path) -> None:
    address = real.member("b0", handle)
    real.folder = copy(keys, tmp_path / "stolen", coordinator="b1")
    refused(real, address, ".*(certificate|closed|reset)")


def test_the_keys_of_a_coordinator_serve_as_no_member(real: Fleet, keys: Path,
                                                      tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    make_authority(tmp_path / "one")
    for name in ("b0", "coordinator"):
        make_certificate(tmp_path / "one", name, coordinator=True)
    real.folder = tmp_path / "one"
    refused(real, real.member("b0", handle), ".*(purpose|certificate)")


def test_an_expired_certificate_is_refused(real: Fleet, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("b0", "coordinator"):
        past = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
        made = authority.issue_cert(name, common_name=name,
                                    not_after=past if name == "b0" else None)
        made.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        made.private_key_pem.write_to_path(folder / f"{name}.key")
    real.folder = folder
    refused(real, real.member("b0", handle), ".*expired")


# ---- files ---------------------------------------------------------------------------------------
def text_of(certificate: Path) -> str:
    return subprocess.run(["openssl", "x509", "-noout", "-text", "-in", str(certificate)],
                          capture_output=True, text=True, check=True).stdout


def test_certificates_say_what_they_are_good_for(keys: Path) -> None:
    member, coordinator, authority = (text_of(keys / f"{name}.pem")
                                      for name in ("b0", "coordinator", "ca"))
    assert "TLS Web Server Authentication" in member and "DNS:b0" in member
    assert "TLS Web Client" not in member and "CA:FALSE" in member
    assert "TLS Web Client Authentication" in coordinator
    assert "TLS Web Server" not in coordinator
    assert "CA:TRUE" in authority
    # A board without a clock of its own begins long ago.
    for one in (member, coordinator, authority):
        assert "Not Before: Jan  1 00:00:00 2000 GMT" in one
        year = int(one.split("Not After : ")[1].split("GMT")[0].split()[-1])
        assert year >= datetime.datetime.now().year + 9


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_authority(tmp_path / "new")
        made = make_certificate(tmp_path / "new", "b0")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    for path in (made.key, tmp_path / "new" / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "b0.key", "b0.pem", "ca.key", "ca.pem"]


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    first = make_authority(tmp_path).read_bytes()
    assert make_authority(tmp_path).read_bytes() == first
    (tmp_path / "ca.key").unlink()
    with pytest.raises(BadInput, match=r"expected ca.pem and ca.key, or none of them, found one"):
        make_authority(tmp_path)
    with pytest.raises(BadInput, match=r"expected the authority's ca.key, found none"):
        make_certificate(tmp_path, "b0")


def test_a_certificate_is_never_overwritten(tmp_path: Path) -> None:
    make_authority(tmp_path)
    made = make_certificate(tmp_path, "b0")
    before = made.certificate.read_bytes()
    with pytest.raises(BadInput, match=r"certificate of 'b0' .*: expected none, found one; remove"):
        make_certificate(tmp_path, "b0")
    assert made.certificate.read_bytes() == before
    with pytest.raises(BadInput, match="name of a member"):
        make_certificate(tmp_path, "b0\nsubjectAltName = DNS:b1")


def test_without_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingTool, match="program openssl, which is not installed; install it"):
        make_authority(tmp_path / "new")


def test_an_openssl_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "openssl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'no such curve' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(MissingTool, match=r"openssl genpkey failed .no such curve.; install"):
        make_authority(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_files_that_are_missing_or_do_not_fit(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"certificates of 'b9': expected a file '.*b9.pem', found"):
        Credentials.of(keys, "b9")
    folder = copy(keys, tmp_path / "mixed")
    shutil.copy(folder / "b1.key", folder / "b0.key")
    with pytest.raises(BadInput, match="expected a certificate with its key, and that of the"):
        Credentials.of(folder, "b0").server()
    (folder / "ca.pem").write_text("nonsense")
    with pytest.raises(BadInput, match="make them with: pynq-train fleet keys"):
        Credentials.of(folder, "b1").client()


def test_no_context_does_without_a_certificate(keys: Path) -> None:
    credentials = Credentials.of(keys, "b0")
    for context in (credentials.server(), credentials.client()):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert credentials.client().check_hostname
