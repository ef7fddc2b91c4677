"""Train one network over three boards, all on this PC: what a fleet of PYNQ boards does.

::

    python examples/three_boards.py                          # three golden members
    python examples/three_boards.py --boards golden,virtual:pynq-z2,golden
    python examples/three_boards.py --kill                   # one of them dies on the way

Certificates, members and links are the real ones (docs/fleet.md); on boards each member is started
there, by ``pynq-train member`` or its systemd unit. The weights behind the training are compared
with those of one board: they are the same, bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import pynq_train as pt
from pynq_train.fleet.keys import make_authority, make_certificate
from pynq_train.fleet.members import COORDINATOR
from pynq_train.fleet.transport.choice import TRANSPORTS

AFTER = ("pool1", "pool2")
"""Operations of the network 'digits' behind which it is cut: three segments."""
SPARE = "spare"


def main() -> None:
    """Start members, train over them and on one board, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", default="golden,golden,golden", help="backend of each member")
    parser.add_argument("--transport", choices=TRANSPORTS, default=TRANSPORTS[0])
    parser.add_argument("--images", type=int, default=256, help="training images")
    parser.add_argument("--kill", action="store_true",
                        help="kill the second member after some steps; a spare one takes over")
    options = parser.parse_args()
    boards = options.boards.split(",")
    if len(boards) != len(AFTER) + 1:
        parser.error(f"--boards: expected {len(AFTER) + 1} names with commas between")
    data = pt.load_digits().train
    x, y = data.x[:options.images], data.y[:options.images]

    names = [f"board{number}" for number in range(len(boards))]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        make_authority(folder)
        make_certificate(folder, COORDINATOR, coordinator=True)
        members = {name: stack.enter_context(member(folder, name, board, options.transport))
                   for name, board in zip([*names, SPARE], [*boards, "golden"])}
        addresses = {name: address for name, (address, _) in members.items()}
        spare = {SPARE: addresses.pop(SPARE)}
        place = pt.Members.at(AFTER, addresses, keys=folder, spares=spare,
                              transport=options.transport)
        print("members: " + ", ".join(f"{seat.name} ({board}) at {seat.address}"
                                      for seat, board in zip(place.seats, place.boards)))
        killer = _Killer(members[names[1]][1]) if options.kill else None
        over = train(place, x, y, [] if killer is None else [killer])
    whole = train("golden", x, y, [])
    same = all(np.array_equal(over[name], array) for name, array in whole.items())
    print(f"{len(whole)} tensors of weights, biases, momentum: "
          + ("the bits of one board" if same else "OTHER bits than one board"))
    sys.exit(0 if same else 1)


class _Killer(pt.callbacks.Callback):
    """Kills a member after three steps."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._steps = process, 0

    def on_step(self, learner: object, outcome: object) -> None:
        """Count a step."""
        self._steps += 1
        if self._steps == 3:
            self._process.kill()
            print("killed the second member", flush=True)


@contextlib.contextmanager
def member(folder: str, name: str, board: str, transport: str
           ) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A member as a process: its address, and the process, which is ended afterwards."""
    make_certificate(folder, name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen(
        [sys.executable, "-m", "pynq_train", "member", "--board", board, "--name", name,
         "--listen", address, "--keys", folder, "--transport", transport],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(
            [str(Path(pt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])})
    try:
        assert process.stdout is not None
        if "listens" not in process.stdout.readline():
            raise SystemExit(f"member {name} did not start")
        yield address, process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def train(board: str | pt.Members, x: np.ndarray, y: np.ndarray,
          callbacks: list[pt.callbacks.Callback]) -> dict[str, np.ndarray]:
    """Train for an epoch; return all tensors of the saved model."""
    from safetensors.numpy import load_file

    learner = pt.Learner("digits", board=board, batch=16, optimizer=pt.SGD(lr=0.05), seed=1)
    learner.fit(x, y, epochs=1, progress=False, callbacks=callbacks)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        learner.save(path)
        learner.close()
        return dict(load_file(path))


if __name__ == "__main__":
    main()
