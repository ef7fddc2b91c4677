"""Copies through the engine's memory ports: every byte compared, the bandwidth measured.

There are two programs of one descriptor, whose results are known without golden. A 1x1 convolution
whose weights are an identity copies a feature map (read ports 0 to 2, write ports 0 and 1). An
update with learning rate 1 moves 32-bit numbers from the gradient into momentum, weight and 16-bit
copy (read port 3, write ports 2 and 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends import Backend, RunRequest, RunResult
from pynq_train.errors import Mismatch
from pynq_train.fixed import rne_shift, saturate
from pynq_train.graph.rng import hash_u64, stream_key
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_BYTES,
    RECORD_BYTES,
    Opcode,
    Pass,
    Semaphore,
    pack_descriptor,
    pack_params,
)
from pynq_train.hw.words import PORTS, WORD_BYTES
from pynq_train.layers import kinds
from pynq_train.layers.fuse import FusedLayer
from pynq_train.program import Program, verify_program
from pynq_train.schedule.lower.program import ProgramImage, build_training
from pynq_train.schedule.memory.arena import Allocator, MemoryMap
from pynq_train.schedule.passes.descriptors import Role, param_index
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import estimate, predict
from pynq_train.schedule.specs.layout import pack_maps
from pynq_train.schedule.standalone import PLACE, standalone_pass, standalone_plan

NAME = "copy"
"""Name of the layer that copies."""
CHANNELS, ROWS, COLS = 16, 128, 128
"""Shape of the feature map that is copied: 512 KiB, so that starting costs little of the time."""
NUMBERS = 4096
"""Count of 32-bit numbers that an update copies."""
_ONE_SHIFT = 14
"""Weights of one are 2**14, and sums are shifted back by as much."""
_CODE_SHIFT = 16
"""Shift from a 32-bit weight to its 16-bit copy: the high half."""
_STREAM = 0xD0C
"""Names the random streams of the bytes that are copied."""


@dataclass(frozen=True)
class Copied:
    """What the copies showed.

    Attributes:
        nbytes: bytes that were compared.
        cycles: cycles of the copy of the map; 0: the backend has no clock.
        moved_bytes: bytes that this copy read and wrote; 0: no counters.
        predicted_cycles: cycles of the copy on a memory as fast as is assumed of the board's.
        idle_ports: ports that moved no word in both copies (no counters: none).
    """

    nbytes: int
    cycles: int
    moved_bytes: int
    predicted_cycles: int
    idle_ports: tuple[str, ...]


def map_plan(board: Board) -> Plan:
    """Return the plan of the copy of a feature map: one forward pass."""
    shape = (CHANNELS, ROWS, COLS)
    layer = FusedLayer(kind=kinds.CONV, name=NAME, in_shape=shape, out_shape_before_pool=shape,
                       out_shape=shape)
    return standalone_plan(standalone_pass(layer, Pass.FORWARD, 1, board))


def arena_bytes(board: Board) -> int:
    """Return the bytes of memory in which :func:`loop_back` works."""
    return max(map_plan(board).memory.nbytes, _number_memory().nbytes)


def loop_back(backend: Backend, board: Board, seed: int = 1) -> Copied:
    """Copy a feature map and numbers through the engine, and compare all bytes.

    Args:
        backend: an open backend with an arena of at least :func:`arena_bytes`.
        board: its board.
        seed: names the bytes that are copied.

    Raises:
        Mismatch: a byte arrived changed, or somewhere else.
        HardwareFault: the engine stopped with an error, or did not end in time.
    """
    plan = map_plan(board)
    image = build_training(plan)
    first = _copy_map(backend, plan, image, seed)
    second, numbers = _copy_numbers(backend, seed)
    moved = sum(value for key, value in first.counters.items() if "_beats" in key) * WORD_BYTES
    return Copied(
        CHANNELS * ROWS * COLS * 2 + numbers, first.cycles, moved,
        predict(plan, plan.train).cycles, _idle(first, second))


def _copy_map(backend: Backend, plan: Plan, image: ProgramImage, seed: int) -> RunResult:
    """Copy the feature map; return the run. Raises what :func:`loop_back` does."""
    memory = plan.memory
    verify_program(Program.make(image.name, image.program, image.taps, memory, memory.nbytes,
                                plan.board.config))
    codes = pack_maps(_codes(seed).reshape(1, CHANNELS, ROWS, COLS))
    identity = np.eye(CHANNELS, dtype=np.int16)[:, :, None, None] << _ONE_SHIFT
    weights = plan.specs[PLACE].pack_weights(identity.astype(np.int16))
    steps = bytearray(memory["step_block"].nbytes)
    at = param_index(Role.FORWARD, PLACE) * PARAM_BYTES
    steps[at : at + PARAM_BYTES] = pack_params(Opcode.CONV, {"shift": _ONE_SHIFT})
    target = memory[f"{NAME}.y"]
    for symbol, data in (
        ("train.program", image.program), ("train.taps", image.taps), ("step_block", bytes(steps)),
        ("head.y", codes), (f"{NAME}.w16", weights),
        (target.symbol, np.zeros(target.nbytes, np.uint8)),
    ):  # fmt: skip
        backend.write(memory[symbol].offset, data)
    result = backend.run(RunRequest(memory["train.program"].offset, image.count,
                                    memory["step_block"].offset, estimate(plan, plan.train)))
    _compare("the copy of a map", codes, backend.read(target.offset, target.nbytes))
    return result


def _copy_numbers(backend: Backend, seed: int) -> tuple[RunResult, int]:
    """Copy the numbers; return run and bytes compared. Raises what :func:`loop_back` does."""
    memory = _number_memory()
    descriptor = pack_descriptor({
        "pre.opcode": Opcode.UPDATE, "pre.signal": Semaphore.UPDATE,
        "pre.rec_off": memory[f"{NAME}.records"].offset, "u.g_off": memory["sums"].offset,
        "u.wv_off": memory["masters"].offset, "u.w16_off": memory["codes"].offset,
        "u.u_count": NUMBERS, "u.u_copy": 1,
        "gc.record": memory[f"{NAME}.records"].offset, "gu.sums": memory["sums"].offset,
        "gu.masters": memory["masters"].offset, "gu.copy": memory["codes"].offset,
        "gu.elements": NUMBERS, "gu.copies": 1,
    })  # fmt: skip
    # momentum 0, decay 0, rate 1: momentum = gradient, weight = -gradient, code = its high half
    params = pack_params(Opcode.UPDATE, {"g_shift": 16, "w_shift": _CODE_SHIFT, "lr": 1})
    sums = _numbers(seed)
    masters = np.zeros((NUMBERS, 2), np.int32)
    for symbol, data in ((f"{NAME}.program", descriptor), ("step_block", params), ("sums", sums),
                         ("masters", masters), ("codes", np.zeros(NUMBERS, np.int16))):
        backend.write(memory[symbol].offset, data)
    result = backend.run(RunRequest(memory[f"{NAME}.program"].offset, 1,
                                    memory["step_block"].offset, 2 * WORD_BYTES * NUMBERS))
    masters[:, 0], masters[:, 1] = -sums, sums
    codes = saturate(rne_shift(-sums, _CODE_SHIFT), 16).astype(np.int16)
    for what, symbol, wanted in (("the copy of numbers", "masters", masters),
                                 ("the copy of their high halves", "codes", codes)):
        region = memory[symbol]
        _compare(what, wanted, backend.read(region.offset, region.nbytes))
    return result, masters.nbytes + codes.nbytes


def _number_memory() -> MemoryMap:
    """Return the arena of the copy of numbers."""
    place = Allocator()
    for symbol, nbytes, kind in (
        (f"{NAME}.program", DESCRIPTOR_BYTES, "program"),
        (f"{NAME}.records", RECORD_BYTES, "records"),
        ("step_block", PARAM_BYTES, "step block"), ("sums", WORD_BYTES * NUMBERS, "gradient sums"),
        ("masters", WORD_BYTES * NUMBERS, "masters"), ("codes", 2 * NUMBERS, "weights"),
    ):  # fmt: skip
        place.add(symbol, nbytes, kind)
    return place.finish()


def _codes(seed: int) -> NDArray[np.int16]:
    """Return random 16-bit numbers, but never the least one, which no stored feature map holds."""
    draws = hash_u64(stream_key(_STREAM, seed), 0, CHANNELS * ROWS * COLS) >> np.uint64(48)
    codes: NDArray[np.int16] = np.maximum(draws.astype(np.uint16).view(np.int16), -32767)
    return codes


def _numbers(seed: int) -> NDArray[np.int64]:
    """Return random 32-bit numbers as int64, never the least one, whose negative does not exist."""
    draws = hash_u64(stream_key(_STREAM, seed, 1), 0, NUMBERS) >> np.uint64(32)
    return np.maximum(draws.astype(np.uint32).view(np.int32), -(2**31 - 1)).astype(np.int64)


def _compare(what: str, wanted: NDArray[np.generic], found: NDArray[np.uint8]) -> None:
    """Check that memory holds the bytes of an array.

    Raises:
        Mismatch: it does not; the text has count and place of what differs.
    """
    expected = np.ascontiguousarray(wanted).reshape(-1).view(np.uint8)
    different = np.flatnonzero(expected != found)
    if len(different):
        at = int(different[0])
        raise Mismatch(f"{what} differs in {len(different)} of {len(found)} bytes, first byte {at}",
                       expected=f"0x{int(expected[at]):02x}", found=f"0x{int(found[at]):02x}",
                       fix="reload the overlay; if it stays, memory ports or bitstream are faulty")


def _idle(*results: RunResult) -> tuple[str, ...]:
    """Return the ports that moved no word in any run; none where a backend has no counters."""
    if not all(result.counters for result in results):
        return ()
    names = [(f"{way} port {port}", f"{way}_beats{port}") for way in ("read", "write")
             for port in range(PORTS)]
    return tuple(label for label, key in names
                 if not any(result.counters[key] for result in results))
