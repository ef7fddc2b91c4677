"""Geometry sections of descriptors: what each computes, in words that no unit receives.

Golden computes from them and the verifier compares them with the sections that the hardware obeys.
They are no part of the contract hash. A tensor stands in them as the whole one of the mini-batch:
byte offset of image 0 and byte strides; section ``gc`` says which of its images a descriptor takes.
"""

from __future__ import annotations

from enum import IntEnum

from pynq_train.hw.fields import Field

GEOMETRY_OVERLAYS = {"gv": "g", "gn": "g", "gp": "g", "gf": "g"}
"""Geometry sections that share their words with another one, of a different opcode."""
GEOMETRY_SECTIONS = ("gc", "g", "gv", "gn", "gp", "gf", "gu")
"""Names of the sections that the hardware does not read."""


class Work(IntEnum):
    """What of its layer, or of the backward graph, a descriptor computes."""

    NONE = 0
    """Nothing of a network: a descriptor of a test or of a loop through the board."""
    FORWARD = 1
    LOSS = 2
    BACKWARD = 3
    WEIGHT_GRADIENT = 4
    BIAS_GRADIENT = 5
    UPDATE_BIAS = 6
    """Of the biases, or of beta."""
    UPDATE_GAMMA = 7
    STATISTICS = 8
    """Sums of the map that is normalised."""
    COEFFICIENTS = 9
    GRADIENT_SUMS = 10
    """Sums of the gradient of a normalisation's output."""
    GRADIENT_COEFFICIENTS = 11
    NODE = 12
    """A node of the backward graph on the vector unit."""
    BARRIER = 13
    """Nothing: it waits, and reads one word."""


def _map(name: str, what: str) -> tuple[Field, ...]:
    """Return the fields of a whole map: byte offset of its first word, two byte strides."""
    return (Field(name, 32, f"{what}: byte offset of image 0"),
            Field(f"{name}_image", 32, "bytes from an image to the next"),
            Field(f"{name}_block", 32, "bytes from a channel block to the next"))


COMMON_FIELDS = (
    Field("layer", 16, "position of the layer"),
    Field("work", 8, "Work: what of it is computed"),
    Field("part", 8, "number of the part of the mini-batch"),
    Field("node", 16, "number of the backward graph's node, for what belongs to one"),
    Field("entry", 16, "index of the step-block entry"),
    Field("first", 16, "first image"),
    Field("count", 16, "images"),
    Field("batch", 16, "images of the mini-batch"),
    Field("record", 32, "byte offset of the result record"),
)

CONVOLUTION_FIELDS = (
    Field("g_pass", 4, "Pass"),
    Field("g_kernel", 8, "kernel rows"),
    Field("g_stride", 4, "rows from window to window"),
    Field("g_relu", 1, "forward: ReLU"),
    Field("g_pool", 1, "forward: 2x2 maximum"),
    Field("g_flags", 1, "forward: flags are written"),
    Field("g_bias", 1, "a bias is added; weight gradient: the bias gradient is written"),
    Field("g_phase", 4, "backward: row phase, (row + pad) modulo stride"),
    Field("g_mode", 2, "LoadMode of the gradient operand"),
    Field("g_tile", 6, "output channels of a tile of the weight layout (tm)"),
    Field("g_pad_top", 16, "rows of padding above", True),
    Field("g_pad_left", 16, "columns of padding at the left", True),
    Field("g_m", 16, "output channels"),
    Field("g_n", 16, "input channels"),
    Field("g_images", 16, "images of the convolution: count of gc; of a dense map 1, whose columns "
          "are the images"),
    Field("g_nb", 16, "channel blocks of the weight layout (padded n / 4)"),
    Field("g_in_rows", 16, "rows of the layer's input"),
    Field("g_in_cols", 16, "columns of the layer's input"),
    Field("g_out_rows", 16, "rows of the convolution's output, before pooling"),
    Field("g_out_cols", 16, "columns of the convolution's output, before pooling"),
    Field("g_x", 32, "layer input: byte offset of image 0"),
    Field("g_x_strides", 32, "byte strides of image, channel block, row, column", False, 4),
    Field("g_y", 32, "layer output or its gradient (pooled size): byte offset of image 0"),
    Field("g_y_strides", 32, "byte strides of image, channel block, row, column", False, 4),
    Field("g_flag", 32, "flags of the layer: byte offset of image 0"),
    Field("g_flag_strides", 32, "byte strides of image, channel block, row", False, 3),
    Field("g_w", 32, "16-bit weights, or int64 gradient sums: byte offset"),
    Field("g_b", 32, "bias masters, or int64 bias gradient: byte offset"),
    Field("g_clip", 1, "forward: ReLU ends at the limit of the step-block entry"),
    Field("g_group", 6, "channels of a group, a divisor of tm: m tile t reads the input "
          "channels of tile t alone; 0: all input channels"),
    Field("g_kernel_wider", 8, "kernel columns less kernel rows: 0 of a square kernel", True),
    Field("g_stride_wider", 4, "columns from window to window less rows: 0 likewise", True),
)

VECTOR_FIELDS = (
    *_map("a", "map a"), *_map("b", "map b"), *_map("y", "result"), *_map("m", "flags"),
    Field("coefs", 32, "coefficients: byte offset"),
    Field("sums", 32, "sums of part 0: byte offset"),
    Field("part_bytes", 32, "bytes of the sums of a part"),
    Field("pixels", 32, "words of a channel block of an image"),
    Field("blocks", 16, "channel blocks"),
    Field("tensor", 16, "dropout: number of the tensor"),
    Field("least", 16, "dropout: part of the elements that are dropped, Q0.16"),
    Field("dense", 1, "images stand in a row, as words of one plane; their flags likewise"),
    Field("has_b", 1, "map b is read"),
    Field("spread", 1, "b has one word for all pixels of a channel block"),
    Field("reduce", 1, "the result is one word: the sum over all pixels"),
    Field("write", 1, "there is a result"),
    Field("has_sums", 1, "the sums of each channel are written"),
    Field("square", 1, "second sum: squares of a; else products of a and b"),
    Field("a_table", 1, "A and C are coefficients; else A stands in the step block, C is 0"),
    Field("b_table", 1, "B is a coefficient; else it stands in the step block"),
    Field("relu", 1, "negative results become zero"),
    Field("clip", 1, "results above the limit of the step-block entry become the limit"),
    Field("flags", 1, "flags are written"),
    Field("mask_a", 1, "a is a gradient that counts only where its flag is set"),
    Field("mask_b", 1, "b likewise"),
    Field("drop", 1, "elements are dropped"),
    Field("factor", 2, "Factor: what a is multiplied by; coefs: tables of its curve"),
    Field("segments", 4, "curve: binary logarithm of the segments of a table"),
    Field("lanes", 2, "curve: channels of the last block, 0 for all"),
    Field("group", 16, "channels of a group: sums and coefficients are those of an image and a "
          "group; 0: those of a channel"),
)

NORM_FIELDS = (
    Field("sums", 32, "sums of part 0: byte offset"),
    Field("part_bytes", 32, "bytes of the sums of a part"),
    Field("gamma", 32, "masters of gamma: byte offset"),
    Field("beta", 32, "masters of beta: byte offset"),
    Field("d_gamma", 32, "gradient of gamma: byte offset"),
    Field("d_beta", 32, "gradient of beta: byte offset"),
    Field("running", 32, "running mean and variance: byte offset"),
    Field("kept", 32, "mean and 1 / deviation of the step: byte offset"),
    Field("coefs", 32, "coefficients: byte offset"),
    Field("pixels", 32, "pixels of an image; with the images, the elements of the statistics"),
    Field("eps", 64, "epsilon, bits of a float64"),
    Field("blocks", 16, "channel blocks"),
    Field("parts", 8, "parts of the mini-batch, each with sums of its own"),
    Field("back", 1, "coefficients of the gradient"),
    Field("frozen", 1, "the running statistics are used and kept"),
    Field("group", 16, "channels of a group: statistics are those of an image and a group; 0: "
          "those of a channel"),
)

POOL_FIELDS = (
    *_map("map", "the map, or its gradient"), *_map("pooled", "pooled map, or its gradient"),
    *_map("argmax", "argmax indices"),
    Field("rows", 16, "rows of the map"),
    Field("cols", 16, "columns of the map"),
    Field("q_rows", 16, "rows of the pooled map"),
    Field("q_cols", 16, "columns of the pooled map"),
    Field("blocks", 16, "channel blocks"),
    Field("kernel", 8, "rows of a window"),
    Field("stride", 8, "rows from window to window"),
    Field("top", 8, "rows of the first window above the map"),
    Field("left", 8, "columns of the first window at the left of the map"),
    Field("back", 1, "gradients go back to the maxima"),
    Field("keep", 1, "forward: the argmax indices are written"),
    Field("kernel_wider", 8, "columns of a window less its rows: 0 of a square one", True),
    Field("stride_wider", 8, "columns from window to window less rows: 0 likewise", True),
)

LOSS_FIELDS = (
    Field("logits", 32, "logits [block][image][4]: byte offset"),
    Field("labels", 32, "labels, one int64 word per image: byte offset"),
    Field("gradient", 32, "logit gradients: byte offset"),
    Field("classes", 16, "classes"),
    Field("grad", 1, "gradients are written"),
    Field("mse", 1, "squared error of the logits; else cross-entropy of their softmax"),
)

UPDATE_FIELDS = (
    Field("sums", 32, "UPDATE: gradient sums, int64: byte offset"),
    Field("masters", 32, "masters: byte offset"),
    Field("copy", 32, "16-bit copy: byte offset"),
    Field("elements", 32, "masters, padding included"),
    Field("copies", 1, "the 16-bit copy is written"),
    Field("plain", 1, "masters are bare int32 weights"),
    Field("rows", 6, "GRADIENT: output channels of each m tile that are weights"),
)

GEOMETRY: tuple[tuple[str, str, tuple[Field, ...]], ...] = (
    ("g", "geometry of a convolution", CONVOLUTION_FIELDS),
    ("gv", "geometry of VECTOR (stands where g stands)", VECTOR_FIELDS),
    ("gn", "geometry of NORM (stands where g stands)", NORM_FIELDS),
    ("gp", "geometry of POOL (stands where g stands)", POOL_FIELDS),
    ("gf", "geometry of SOFTMAX (stands where g stands)", LOSS_FIELDS),
    ("gc", "geometry of every opcode but FENCE: which computation, which images", COMMON_FIELDS),
    ("gu", "geometry of UPDATE, and of the update of GRADIENT", UPDATE_FIELDS),
)
"""Name, meaning and fields of the geometry sections, in their order in a descriptor."""
