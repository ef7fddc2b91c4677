"""Certificates of a fleet: an authority of its own, and a certificate for each member.

Made by the program openssl: the Python package cryptography has no wheel for armv7l. A member's
certificate is good for being called, a coordinator's for calling: the keys of a stolen board
command no other board.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pynq_train.errors import BadInput, MissingTool
from pynq_train.files.write import write_atomic
from pynq_train.fleet.transport.base import check_name
from pynq_train.fleet.transport.certificates import AUTHORITY, Credentials

AUTHORITY_KEY = "ca.key"
"""Key of the authority: it stays on the machine that makes certificates."""

_DAYS = 3650
_SECONDS = 60
_CONFIG = """
[ca]
default_ca = fleet
[fleet]
database = index.txt
rand_serial = yes
new_certs_dir = .
policy = names
default_md = sha256
unique_subject = no
[names]
commonName = supplied
[req]
distinguished_name = nothing
prompt = no
[nothing]
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectAltName = DNS:{name}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def make_authority(folder: str | Path) -> Path:
    """Make the authority of a fleet, unless the folder has one.

    Args:
        folder: where its certificate and key go; it is made if it does not exist.

    Returns:
        The file of the certificate.

    Raises:
        MissingTool: there is no program openssl.
        BadInput: the folder cannot be written, or has one of the two files alone.
    """
    base = Path(folder)
    certificate, key = base / AUTHORITY, base / AUTHORITY_KEY
    if certificate.is_file() and key.is_file():
        return certificate
    if certificate.exists() or key.exists():
        raise BadInput(f"folder {str(folder)!r}", expected=f"{AUTHORITY} and {AUTHORITY_KEY}, or "
                       "none of them", found="one", fix="make certificates where the authority is")
    _make(base)
    with _workshop("pynq-train fleet", "serverAuth") as work:
        _key(work, "new.key")
        _sign(work, "authority", "pynq-train fleet", "new.key", ["-selfsign"])
        _keep(work / "new.key", key, secret=True)
        _keep(work / "new.pem", certificate)
    return certificate


def make_certificate(folder: str | Path, name: str, *, coordinator: bool = False) -> Credentials:
    """Make key and certificate of a member or a coordinator.

    Args:
        folder: of the authority; the files go there too.
        name: of the member.
        coordinator: it commands members, and is none.

    Raises:
        MissingTool: there is no program openssl.
        BadInput: no authority there, a malformed name, or one that has a certificate already.
    """
    base = Path(folder)
    check_name(name)
    authority, signer = base / AUTHORITY, base / AUTHORITY_KEY
    for path in (authority, signer):
        if not path.is_file():
            raise BadInput(f"folder {str(folder)!r}", expected=f"the authority's {path.name}",
                           found="none", fix="make certificates where the authority is")
    key, certificate = base / f"{name}.key", base / f"{name}.pem"
    if key.exists() or certificate.exists():
        raise BadInput(f"certificate of {name!r} in {str(folder)!r}", expected="none",
                       found="one", fix="remove it first, or choose another name")
    with _workshop(name, "clientAuth" if coordinator else "serverAuth") as work:
        _key(work, "new.key")
        _sign(work, "leaf", name, "new.key",
              ["-cert", str(authority.resolve()), "-keyfile", str(signer.resolve())])
        _keep(work / "new.key", key, secret=True)
        _keep(work / "new.pem", certificate)
    return Credentials(authority, certificate, key)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"folder {str(folder)!r} cannot be made ({error.strerror})",
                       fix="choose another") from None


@contextlib.contextmanager
def _workshop(name: str, usage: str) -> Iterator[Path]:
    """A folder with openssl's settings, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pynq-train-keys-") as folder:
        work = Path(folder)
        (work / "settings").write_text(_CONFIG.format(name=name, usage=usage), encoding="utf-8")
        (work / "index.txt").touch()
        yield work


def _key(work: Path, name: str) -> None:
    """Make a key on the curve P-256: quick on a board's processor, known to every TLS."""
    _openssl(work, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-out", name)


def _sign(work: Path, section: str, name: str, key: str, signer: list[str]) -> None:
    """Make a certificate; it is good since 2000, as boards without a clock of their own begin."""
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=_DAYS)
    _openssl(work, "req", "-new", "-config", "settings", "-key", key, "-subj", f"/CN={name}",
             "-out", "new.csr")
    _openssl(work, "ca", "-batch", "-config", "settings", "-in", "new.csr", "-out", "new.pem",
             "-notext", "-extensions", section, "-startdate", "20000101000000Z",
             "-enddate", end.strftime("%Y%m%d%H%M%SZ"), *signer,
             *(["-keyfile", key] if "-selfsign" in signer else []))


def _keep(made: Path, target: Path, *, secret: bool = False) -> None:
    """Put a file where it belongs; a secret one is readable by its owner alone from the start."""
    if secret:
        with contextlib.suppress(OSError):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    write_atomic(target, made.read_bytes())


def _openssl(work: Path, *words: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise MissingTool("certificates are made by the program openssl, which is not installed",
                          fix="install it (apt install openssl)")
    try:
        done = subprocess.run([program, *words], cwd=work, capture_output=True, text=True,
                              timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise MissingTool(f"openssl {words[0]} does not come to an end") from None
    if done.returncode != 0:
        raise MissingTool(f"openssl {words[0]} failed ({done.stderr.strip()[-300:]})",
                          fix="install OpenSSL 1.1.1 or newer")
