"""In which order blocks take their steps in an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Thread

from pynq_train.fleet.block_training.ring import Closed, Ring
from pynq_train.graph.rng import hash_u64, stream_key

_STREAM = 0xB10C
"""Names the random stream of schedules among those of a seed."""

Step = Callable[[int], None]
"""Runs the next step of a block, given by its number; takes from the ring in front of it."""


def in_turn(step: Step, count: int, steps: int, ring: int) -> None:
    """Let blocks take turns of ``ring`` steps, each mini-batch through all of them.

    Args:
        step: runs a step.
        count: blocks.
        steps: of each block.
        ring: mini-batches that a ring holds.
    """
    for begin in range(0, steps, ring):
        for block in range(count):
            for _ in range(begin, min(begin + ring, steps)):
                step(block)


def drawn(step: Step, count: int, steps: int, rings: Sequence[Ring], seed: int, epoch: int) -> None:
    """Let blocks take steps in a drawn order: each time one of those that can.

    A block can when it has steps left and the ring in front of it holds something.

    Args:
        step: runs a step.
        count: blocks.
        steps: of each block.
        rings: between the blocks.
        seed: of the order.
        epoch: of which each has an order of its own.
    """
    left, key, tick = [steps] * count, stream_key(seed, _STREAM, epoch), 0
    while any(left):
        able = [block for block in range(count)
                if left[block] and (not block or len(rings[block - 1]))]
        draw = int(hash_u64(key, tick, 1)[0])
        block = able[draw % len(able)]
        step(block)
        left[block] -= 1
        tick += 1


def at_once(step: Step, count: int, steps: int, rings: Sequence[Ring]) -> None:
    """Let all blocks take their steps at the same time, each in a thread of its own.

    Args:
        step: runs a step.
        count: blocks.
        steps: of each block.
        rings: between the blocks; they are closed where a block fails.

    Raises:
        BaseException: what the first block that failed has raised; all threads have ended.
    """
    failures: list[BaseException] = []

    def work(block: int) -> None:
        try:
            for _ in range(steps):
                if failures:
                    return
                step(block)
        except Closed:
            pass  # another block has failed, and says why
        except BaseException as error:
            fail(error)

    def fail(error: BaseException) -> None:
        failures.append(error)
        for ring in rings:
            ring.close()

    threads = [Thread(target=work, args=(block,), name=f"block {block}", daemon=True)
               for block in range(count)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as error:  # Ctrl-C: steps under way end first
        fail(error)
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]
