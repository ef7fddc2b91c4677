"""A transport by its name."""

from __future__ import annotations

from pathlib import Path

from pynq_train.errors import UnknownName
from pynq_train.fleet.transport.base import Transport, check_name

TRANSPORTS = ("tls", "zenoh")
"""Names of the transports between machines."""


def make_transport(kind: str, keys: str | Path, name: str) -> Transport:
    """Return a transport; whoever wants it closes it.

    Args:
        kind: one of :data:`TRANSPORTS`.
        keys: folder with certificates.
        name: whose certificate this machine has.

    Raises:
        UnknownName: no such transport.
        BadInput: a certificate is missing.
        MissingTool: zenoh is not installed.
    """
    if kind not in TRANSPORTS:
        raise UnknownName.among("transport", kind, TRANSPORTS)
    # Imported here: sockets and certificates are of no use to who trains on one board.
    from pynq_train.fleet.transport.certificates import Credentials

    credentials = Credentials.of(keys, check_name(name))
    if kind == "zenoh":
        from pynq_train.fleet.transport.zenoh_session import ZenohTransport

        return ZenohTransport(credentials)
    from pynq_train.fleet.transport.tls_socket import TlsSocket

    return TlsSocket(credentials)
