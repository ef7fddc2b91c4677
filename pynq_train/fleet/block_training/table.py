"""A table of blocks: what heads cost, in parameters and cycles, and what memory a board needs."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.fleet.block_training.block import Block
from pynq_train.fleet.block_training.learner import BlockLearner

_TITLES = ("block", "ends after", "parameters", "head", "its parameters", "cycles of a step",
           "arena bytes")


def block_table(blocks: Sequence[Block], learners: Sequence[BlockLearner], *, in_turn: bool) -> str:
    """Return the table, as lines of text.

    Args:
        blocks: the blocks.
        learners: of each, on its board.
        in_turn: they use one board, in the memory of the largest.
    """
    cycles = [learner.predicted_step().cycles for learner in learners]
    arenas = [learner.plan.memory.nbytes for learner in learners]
    rows = [_TITLES, *((str(block.number), block.after or "(the end)", f"{block.parameters:,}",
                        block.head or "(none)", f"{block.head_parameters:,}", f"{steps:,}",
                        f"{arena:,}")
                       for block, steps, arena in zip(blocks, cycles, arenas))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(text.ljust(width) if at in (1, 3) else text.rjust(width)
                       for at, (text, width) in enumerate(zip(row, widths))).rstrip()
             for row in rows]
    memory = (f"one board, blocks in turn: {max(arenas):,} bytes of device memory, those of the "
              f"largest" if in_turn else
              f"{len(blocks)} boards: {max(arenas):,} bytes of device memory at most")
    lines.append(f"{memory} (all blocks at once: {sum(arenas):,}); mini-batch "
                 f"{learners[0].batch}, cycles by the model")
    return "\n".join(lines)
