"""One network over several boards: segments, their members, splits, blocks and trees of networks.

A network is cut into segments at named edges; each segment is trained by one member, and only
integers travel between members: maps with their exponents, and measured ranges. Cutting changes no
bit of the masters. Blocks are trained apart, each by a head of its own: :func:`train_blocks`.
"""

from pynq_train.fleet.block_training.block import Block, blocks
from pynq_train.fleet.block_training.training import TrainedBlocks, train_blocks

__all__ = ["Block", "TrainedBlocks", "blocks", "train_blocks"]
