"""A member as a process of its own: adds, waits, and keeps sums of integers, as tests ask."""

from __future__ import annotations

import sys
import time

import numpy as np

from pynq_train.fleet.identity import Identity
from pynq_train.fleet.member import Member, Service
from pynq_train.fleet.transport.base import Beats
from pynq_train.fleet.transport.certificates import Credentials
from pynq_train.fleet.transport.tls_socket import TlsSocket
from pynq_train.fleet.transport.zenoh_session import ZenohTransport
from pynq_train.fleet.wire import Arrays, Values


def service() -> Service:
    """A stage that stands for a segment: its weights depend on every map that came, in order."""
    state = {"weights": np.zeros(64, np.int32)}

    def handle(name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
        if name == "sleep":
            time.sleep(values["seconds"])
        elif name == "add":
            return {"by": values["by"]}, {key: a + a.dtype.type(values["by"])
                                          for key, a in arrays.items()}
        elif name == "write":
            state["weights"] = arrays["weights"]
        elif name == "step":
            before = state["weights"]
            state["weights"] = before * np.int32(1103515245) + arrays["x"]
            return {}, {"y": (before >> 7) + arrays["x"]}
        return {}, {"weights": state["weights"]} if name == "read" else {}

    return Service(handle)


def main() -> None:
    """Serve until killed."""
    kind, folder, name, address, lease = sys.argv[1:]
    transport = (TlsSocket if kind == "tls" else ZenohTransport)(
        Credentials.of(folder, name), Beats(float(lease)))
    member = Member(Identity.of(name, "golden"), service)
    member.listen(transport, address)
    print("ready", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
