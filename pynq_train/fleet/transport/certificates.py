"""Certificates of a member or a coordinator: files of a folder, and contexts of mutual TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from pynq_train.errors import BadInput, JoinRefused
from pynq_train.fleet.transport.base import host_and_port, lost

AUTHORITY = "ca.pem"
"""Certificate of the fleet's authority: the same file for all."""


@dataclass(frozen=True)
class Credentials:
    """Who one is, and whom one trusts.

    Attributes:
        authority: certificate of the fleet's authority (PEM).
        certificate: the own certificate, which that authority has signed.
        key: its private key.
    """

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: str | Path, name: str) -> Credentials:
        """Return those of ``name`` in a folder as ``pynq-train fleet keys`` leaves it.

        Raises:
            BadInput: a file is missing.
        """
        base = Path(folder)
        found = cls(base / AUTHORITY, base / f"{name}.pem", base / f"{name}.key")
        for path in (found.authority, found.certificate, found.key):
            if not path.is_file():
                raise BadInput(f"certificates of {name!r}", expected=f"a file {str(path)!r}",
                               found="none", fix="make them with: pynq-train fleet keys")
        return found

    def server(self) -> ssl.SSLContext:
        """Return the context of a member: it asks for a coordinator's certificate."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def client(self) -> ssl.SSLContext:
        """Return the context of a coordinator: a member has to be the one that is meant."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self.authority)
            context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise BadInput(f"certificates in {str(self.certificate.parent)!r}",
                           expected="a certificate with its key, and that of the authority",
                           found=str(error)[:100],
                           fix="make them with: pynq-train fleet keys") from None
        return context


def probe(credentials: Credentials, name: str, address: str, seconds: float,
          listen_s: float = 0.0) -> None:
    """See that a member listens and that both sides trust each other.

    Args:
        credentials: of this side.
        name, address: of the member.
        seconds: for the connection.
        listen_s: seconds to wait for a refusal of this side's certificate, which comes after the
            handshake in TLS 1.3.

    Raises:
        MemberLost: nobody listens there.
        JoinRefused: somebody does, but certificates or names do not fit.
    """
    context = credentials.client()
    try:
        with socket.create_connection(host_and_port(address), timeout=seconds) as plain, \
                context.wrap_socket(plain, server_hostname=name) as stream:
            if listen_s:
                stream.settimeout(listen_s)
                with contextlib.suppress(socket.timeout):
                    stream.recv(1)
    except ssl.SSLError as error:
        raise distrust(name, refusal(error)) from None
    except OSError as error:
        raise lost(name, f"{address}: {error.strerror or error}") from None


def distrust(name: str, why: str) -> JoinRefused:
    """Return the error of two sides that do not trust each other."""
    return JoinRefused(f"member {name!r} and this machine do not trust each other ({why})",
                       expected="certificates of one authority, the member's with its name",
                       fix="make them with 'pynq-train fleet keys', and see that both clocks are "
                       "right")


def refusal(error: ssl.SSLError) -> str:
    """Return why a certificate was refused, and what is behind it where it is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return str(error.reason or error)[:100].lower().replace("_", " ")
