"""Kinds of layers: one row for each, with all that follows from it.

Layers (:class:`~pynq_train.layers.fuse.FusedLayer`), what the scheduler makes of them and what the
exponents must know of them refer to these values. Who must tell layers apart asks for a property.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.commands import Opcode
from pynq_train.layers import nodes
from pynq_train.layers.nodes import NodeKind


@dataclass(frozen=True)
class Kind:
    """What a layer does.

    Attributes:
        label: its name in texts.
        opcode: of the descriptors of its forward pass, None if nothing runs: its sources write
            where it stands.
        backward: node that takes the gradient of its output to that of its first input. None: the
            gradient goes to all inputs as it is. Further inputs get it as it is.
        fully_connected: it reads a vector, or a map as one.
        normalises: it has statistics and coefficients.
        by_image: its statistics are those of an image and a group of channels, in evaluation too.
        reduces: it sums up all pixels of a map.
        to_vector: its output is a vector, whatever it reads.
        wordwise: it takes maps of one size word by word, or joins them: their images are equally
            far apart in memory, and vectors remain vectors (of a scaling: the first input's).
        free_exponent: its output may have any exponent. Others are copied where a concatenation
            asks for that (``layers.concat``).
        own_mask: training keeps flags of it, with an activation behind it or not.
        reads_masked: its backward pass can read a gradient through the flags of another layer. A
            mean's cannot: the pass has the pixels of its input, the flags those of its output.
        pieced: it is several convolutions over parts of the maps (``layers.pieces``).
        transposed: its forward pass is the backward pass of windows over its output, and its
            backward pass their forward pass.
        multiplies: it is the product of two inputs: each has a gradient of its own.
        scales: the second of them is a vector, whose values belong to channels.
    """

    label: str
    opcode: Opcode | None
    backward: NodeKind | None
    fully_connected: bool = False
    normalises: bool = False
    by_image: bool = False
    reduces: bool = False
    to_vector: bool = False
    wordwise: bool = False
    free_exponent: bool = False
    own_mask: bool = False
    reads_masked: bool = False
    transposed: bool = False
    pieced: bool = False
    multiplies: bool = False
    scales: bool = False

    def __str__(self) -> str:
        """Return the label."""
        return self.label

    @property
    def on_array(self) -> bool:
        """Whether it runs on the array: a convolution, or fully connected."""
        return self.opcode is Opcode.CONV

    @property
    def convolves(self) -> bool:
        """Whether it moves windows of weights over a map."""
        return self.on_array and not self.fully_connected

    @property
    def windowed(self) -> bool:
        """Whether it takes the maxima of windows, in a pass of its own."""
        return self.opcode is Opcode.POOL

    @property
    def has_running(self) -> bool:
        """Whether it has gamma, beta and running statistics: it is a batch normalisation."""
        return self.normalises and not self.by_image

    @property
    def joins(self) -> bool:
        """Whether it runs nowhere: its sources stand side by side in its map."""
        return self.opcode is None


CONV = Kind("conv", Opcode.CONV, nodes.BACKWARD, free_exponent=True)
DENSE = Kind("dense", Opcode.CONV, nodes.BACKWARD, fully_connected=True, to_vector=True,
             free_exponent=True)
UPSAMPLE = Kind("upsample", Opcode.CONV, nodes.BACKWARD, free_exponent=True, transposed=True)
TRANSPOSE = Kind("transpose", Opcode.CONV, nodes.BACKWARD, free_exponent=True, transposed=True)
BILINEAR = Kind("bilinear", Opcode.CONV, nodes.BACKWARD, free_exponent=True, transposed=True,
                pieced=True)
NORM = Kind("norm", Opcode.VECTOR, nodes.NORM, normalises=True, wordwise=True, free_exponent=True,
            reads_masked=True)
GROUP_NORM = Kind("group norm", Opcode.VECTOR, nodes.NORM, normalises=True, by_image=True,
                  free_exponent=True, reads_masked=True)
ADD = Kind("add", Opcode.VECTOR, None, wordwise=True, free_exponent=True, reads_masked=True)
MEAN = Kind("mean", Opcode.VECTOR, nodes.SPREAD, reduces=True, to_vector=True)
POOL = Kind("pool", Opcode.POOL, nodes.UNPOOL)
DROP = Kind("drop", Opcode.VECTOR, nodes.DROP, wordwise=True, own_mask=True)
CURVE = Kind("curve", Opcode.VECTOR, nodes.CURVE, wordwise=True, free_exponent=True,
             reads_masked=True)
PRODUCT = Kind("product", Opcode.VECTOR, nodes.PRODUCT, wordwise=True, free_exponent=True,
               reads_masked=True, multiplies=True)
SCALE = Kind("scale", Opcode.VECTOR, nodes.PRODUCT, wordwise=True, free_exponent=True,
             reads_masked=True, multiplies=True, scales=True)
CONCAT = Kind("concat", None, nodes.VIEW, wordwise=True, free_exponent=True)

KINDS = (CONV, DENSE, UPSAMPLE, TRANSPOSE, BILINEAR, NORM, ADD, MEAN, POOL, DROP, CURVE, PRODUCT,
         SCALE, CONCAT, GROUP_NORM)
"""All kinds."""
