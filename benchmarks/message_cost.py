"""What a message between two members costs their processors, in nb.

    python -m benchmarks.message_cost
    python -m benchmarks.message_cost --images 1 8 16 32 --shape 1 28 28 --json messages.json

A coordinator asks a member of the same process over mutual TLS on loopback: a JSON header, images
in device format and their digest go there, class numbers come back. CPU time of both sides, all
threads, is halved and given in nb, the CPU time of 1,000 iterations of the N-body benchmark in pure
Python, measured in turn with it (``benchmarks/host_cost.py``). A Cortex-A9 at 650 MHz is taken to
need 140 ms for an nb.

An nb is a measure of Python. Of a long message, digest, encryption and copies are the larger part,
which this processor has instructions for and a Cortex-A9 has not: there a long message costs more
than this says.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.host_cost import A9_MS_PER_NB, n_body_seconds
from pynq_train.fleet.identity import Identity
from pynq_train.fleet.keys import make_authority, make_certificate
from pynq_train.fleet.member import Member, Service
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.splits.cuts import map_bytes
from pynq_train.fleet.transport.certificates import Credentials
from pynq_train.fleet.transport.tls_socket import TlsSocket
from pynq_train.fleet.wire import Arrays, Values

REPEATS, ROUNDS = 7, 40
"""Measurements, of which the median counts, and messages of each."""


@dataclass(frozen=True)
class MessageCost:
    """What a message costs each side.

    Attributes:
        nbytes: bytes of the images in it.
        nb: CPU time of a side, the answer included, in nb.
    """

    nbytes: int
    nb: float

    @property
    def a9_ms(self) -> float:
        """Milliseconds of a Cortex-A9."""
        return self.nb * A9_MS_PER_NB

    def text(self) -> str:
        """Return it as a line."""
        return (f"{self.nbytes:,} bytes: {self.nb:.4f} nb a message and side (measured), "
                f"{self.a9_ms:.2f} ms of a Cortex-A9 (estimated)")


def _answer(name: str, values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
    """Stand for a leaf: one class number for an image."""
    return {}, {"classes": np.zeros(len(arrays["images"]), np.int64)}


def message_costs(sizes: list[tuple[int, int]], repeats: int = REPEATS, rounds: int = ROUNDS
                  ) -> list[MessageCost]:
    """Measure messages.

    Args:
        sizes: images of a message, and bytes of each, by message.
        repeats: measurements of each message, of which the median counts.
        rounds: messages of a measurement.

    Raises:
        MissingTool: the program openssl is not installed.
    """
    with tempfile.TemporaryDirectory() as name:
        keys = Path(name)
        make_authority(keys)
        make_certificate(keys, "leaf")
        make_certificate(keys, "coordinator", coordinator=True)
        ends = [TlsSocket(Credentials.of(keys, own)) for own in ("leaf", "coordinator")]
        member = Member(Identity.of("leaf", "golden"), lambda: Service(_answer))
        try:
            listener = member.listen(ends[0], "127.0.0.1:0")
            with Remote.join(ends[1], "leaf", listener.address) as remote:
                return [_cost(remote, images, nbytes, repeats, rounds)
                        for images, nbytes in sizes]
        finally:
            member.close()
            for end in ends:
                end.close()


def _cost(remote: Remote, images: int, nbytes: int, repeats: int, rounds: int) -> MessageCost:
    """Measure one kind of message."""
    arrays = {"images": np.zeros((images, nbytes // 2), np.int16)}
    found = []
    for _ in range(repeats):
        unit = n_body_seconds()
        began = time.process_time()
        for _ in range(rounds):
            remote.ask("leaf", {}, arrays)
        found.append((time.process_time() - began) / rounds / 2 / unit)
    return MessageCost(images * nbytes, statistics.median(found))


def main() -> None:
    """Measure and print."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--images", type=int, nargs="+", default=[1, 4, 8, 16, 32],
                   help="images of a message")
    p.add_argument("--shape", type=int, nargs=3, default=[1, 28, 28], help="of an image")
    p.add_argument("--json", type=Path)
    options = p.parse_args()
    channels, rows, cols = options.shape
    nbytes = map_bytes((channels, rows, cols), 1)
    rows_ = []
    for images, cost in zip(options.images,
                            message_costs([(count, nbytes) for count in options.images])):
        assert math.isfinite(cost.nb)
        print(f"{images} images, {cost.text()}", flush=True)
        rows_.append({"images": images, **asdict(cost), "a9_ms": cost.a9_ms})
    if options.json:
        options.json.write_text(json.dumps(rows_, indent=2) + "\n")


if __name__ == "__main__":
    main()
