"""Rungs that leave a network's weights as they are and add small layers beside them.

All begin with the function of the network: what an adapter adds ends with weights of zero.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pynq_train.errors import BadInput
from pynq_train.graph import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Dense,
    GlobalAvgPool,
    Model,
    Op,
    Relu,
    Upsample,
)
from pynq_train.graph.shapes import Shape
from pynq_train.graph.wiring import INPUT
from pynq_train.hw.limits import MAX_STRIDE
from pynq_train.hw.words import CHANNELS_PER_WORD, round_up
from pynq_train.rungs.blocks import Block, blocks_of
from pynq_train.rungs.edit import Edit, classifiers

LORA_A, LORA_B, LORA = ".lora_a", ".lora_b", ".lora"
"""Ends of the names of a low-rank pair and of the sum behind it."""
_SHARE = 3
"""One of so many blocks, the last ones, have branches: a step then takes half the cycles."""
_PAIRS = 4
"""Blocks with a pair to the logits."""
_WIDTH = 16
"""Channels of a branch of DA3: a tile of outputs, which are the lanes of the array."""
_Begin = Callable[[str, str, Shape, int], tuple[Conv, ...]]
"""Makes the convolutions in front of a branch's ReLU: name, what they read, its shape, stride."""
GATED = ".da3"
"""End of the names of the branches of DA3, and of the sums behind them, which may have gates."""
_RUNG_OF = {GATED: "da3", ".lite": "lite-residual"}
"""Rungs by the ends of the names of their branches."""


def lora(model: Model, rank: int, seed: int) -> tuple[Model, tuple[str, ...]]:
    """Return a model with a low-rank pair beside each convolution and dense layer.

    A (random) has the windows of the layer and ``rank`` outputs, B (zero) is 1x1; their product is
    added to the layer's output, before what follows. Grouped and depthwise convolutions, layers
    that a pair would not make smaller and the classifier have none. All biases learn as well.

    Args:
        model: the network.
        rank: outputs of A.
        seed: of the weights of A.

    Returns:
        The model, and the names of the pairs, biases and classifier.

    Raises:
        BadInput: no layer has a pair.
    """
    edit, heads = Edit(model, seed), classifiers(model.graph)
    learning: list[str] = []
    for name in [op.name for op in edit.ops]:
        op = edit[name]  # as it reads now: what it reads may have a pair
        if op.name in heads or not isinstance(op, (Conv, Dense)):
            continue
        if isinstance(op, Conv) and op.groups > 1:
            continue
        weight = edit.params(op.name).weight
        m, inner = len(weight), weight.size // len(weight)
        if rank * (inner + m) >= m * inner:
            continue
        a: Conv | Dense
        b: Conv | Dense
        names = op.name + LORA_A, op.name + LORA_B
        if isinstance(op, Conv):
            a = Conv(rank, op.kernel, op.stride, op.padding, False, names[0], 1, op.inputs)
            b = Conv(m, 1, 1, 0, False, names[1], 1, names[:1])
        else:
            a = Dense(rank, False, names[0], op.inputs)
            b = Dense(m, False, names[1], names[:1])
        total = Add(op.name + LORA, (op.name, b.name))
        edit.rename(op.name, total.name)
        edit.insert(op.name, a, b, total)
        edit.random(a)
        edit.zeros(b)
        learning += names
    if not learning:
        raise BadInput("trainable='lora'", found=f"none in {model.graph.name!r}",
                       expected=f"a layer that a pair of rank {rank} makes smaller",
                       fix="use trainable='last-layer'")
    # Without them it was points less accurate: a folded normalisation's shift is in the bias.
    return edit.finish(), (*learning, *_biases(model.graph.ops, heads), *heads)


def _biases(ops: Sequence[Op], heads: Collection[str]) -> tuple[str, ...]:
    """Return the names of the biases of layers; the classifier's are learnt with its weights."""
    return tuple(f"{op.name}.bias" for op in ops
                 if isinstance(op, (Conv, Dense)) and op.bias and op.name not in heads)


def skip_lora(model: Model, rank: int, seed: int, blocks: int | None = None
              ) -> tuple[Model, tuple[str, ...]]:
    """Return a model with low-rank pairs from the inputs of blocks straight to the logits.

    A map is pooled to a vector; A (random) makes ``rank`` features of it; B (zero), one matrix for
    all pairs, adds to the logits. No gradient enters the network. The images themselves have no
    pair: their means say little.

    Args:
        model: the network.
        rank: features of each pair, rounded up to whole channel blocks.
        seed: of the weights of A.
        blocks: how many blocks have a pair, spread evenly up to the last one; None: four. With
            pairs of all blocks of a deep network their updates take longer than the rest.

    Returns:
        The model, and the names of the pairs.

    Raises:
        BadInput: the network has one block.
    """
    edit, graph = Edit(model, seed), model.graph
    last = graph.ops[-1].name
    features: list[str] = []
    rank = round_up(rank, CHANNELS_PER_WORD)
    behind = _before_last(edit)
    behind_first = blocks_of(graph)[1:]
    count = min(_PAIRS if blocks is None else blocks, len(behind_first))
    for number in range(1, count + 1):
        block = behind_first[-(-number * len(behind_first) // count) - 1]
        pooled = f"{block.source}.skip_pool"
        ops: list[Op] = []
        if edit.shapes[block.source][1:] != (1, 1):
            ops.append(GlobalAvgPool(pooled, (block.source,)))
        a = Dense(rank, False, f"{block.source}.skip_a", (pooled if ops else block.source,))
        behind = edit.insert(behind, *ops, a)
        edit.random(a)
        features.append(a.name)
    if not features:
        raise BadInput("trainable='skip-lora'", expected="a network of two blocks at least",
                       found=f"{graph.name!r} with one", fix="use trainable='last-layer'")
    source = features[0]
    if len(features) > 1:
        source = behind = edit.insert(behind, Concat("skip_features", tuple(features)))
    b = Dense(graph.classes, False, "skip_b", (source,))
    edit.insert(last, b, Add("skip_logits", (last, b.name)))
    edit.zeros(b)
    return edit.finish(), (*features, b.name, *classifiers(graph))


def _before_last(edit: Edit) -> str:
    """Return the name of the operation in front of the last one."""
    return edit.ops[-2].name if len(edit.ops) > 1 else INPUT


def additive(model: Model, seed: int, blocks: int | None = None
             ) -> tuple[Model, tuple[str, ...]]:
    """Return a model with an additive branch beside blocks, as DA3 has (our construction).

    2x2 average pooling, a 1x1 convolution to 16 channels, a 3x3 one with bias, ReLU, a 1x1
    convolution (zero), a nearest upsampling to the size of the block's map, to which it is added.
    No weight gradient needs a map of the network as large as it was.

    Args:
        model: the network.
        seed: of the weights of the branches but for the last ones.
        blocks: how many of the last blocks have a branch, None: a third of all, rounded. Below
            them nothing runs backward.

    Returns:
        The model, and the names of what learns.

    Raises:
        BadInput: none of these blocks has a size that a branch could have.
    """
    return _branches(model, seed, GATED, _narrow, blocks)


def lite_residual(model: Model, seed: int, blocks: int | None = None
                  ) -> tuple[Model, tuple[str, ...]]:
    """Return a model with TinyTL's lite residual beside blocks, whose biases learn too.

    2x2 average pooling, a 3x3 convolution of two groups with bias, ReLU, a 1x1 convolution (zero),
    a nearest upsampling, added to the block's map. Arguments and errors are those of
    :func:`additive`.
    """
    heads = classifiers(model.graph)
    changed, learning = _branches(model, seed, ".lite", _two_groups, blocks)
    names = [op.name for op in model.graph.ops]
    begins = _last_blocks(model, blocks)[0].source
    first = 0 if begins == INPUT else names.index(begins) + 1
    biases = _biases(model.graph.ops[first:], heads)
    return changed, (*learning[:-len(heads)], *biases, *heads)


def _last_blocks(model: Model, count: int | None) -> tuple[Block, ...]:
    """Return the last ``count`` blocks of a network; None: a third of them, rounded."""
    every = blocks_of(model.graph)
    return every[-(max(1, (len(every) + 1) // _SHARE) if count is None else count):]


def _branches(model: Model, seed: int, ending: str, begins: _Begin, count: int | None
              ) -> tuple[Model, tuple[str, ...]]:
    """Return a model with branches beside its last blocks, where sizes allow, and what learns."""
    edit = Edit(model, seed)
    learning: list[str] = []
    for block in _last_blocks(model, count):
        learning += _branch(edit, block, ending, begins)
    if not learning:
        raise BadInput(f"trainable={_RUNG_OF[ending]!r}", fix="use trainable='lora'",
                       expected="a block whose map has the size of its input, or a whole part of "
                       "it", found=f"none in {model.graph.name!r}")
    return edit.finish(), (*learning, *classifiers(model.graph))


def _branch(edit: Edit, block: Block, ending: str, begins: _Begin) -> list[str]:
    """Add the branch of a block; return the names of its layers that learn."""
    shape, out = edit.shapes[block.source], edit.shapes[block.end]
    way = resolution(shape, out)
    if way is None:
        return []
    pool, stride, factor = way
    # Branches read the network's own maps, with what earlier branches have added to them.
    source = _end_of(edit, block.source, ending)
    name = block.end + ending
    ops: list[Op] = []
    if pool > 1:
        ops.append(AvgPool(pool, pool, 0, f"{name}_pool", (source,)))
        source = ops[-1].name
    small = shape[0], shape[1] // pool, shape[2] // pool
    first = begins(name, source, small, stride)
    second = Conv(out[0], 1, 1, 0, False, f"{name}_b", 1, (f"{name}_relu",))
    ops += [*first, Relu(f"{name}_relu", (first[-1].name,)), second]
    if factor > 1:
        ops.append(Upsample(factor, f"{name}_up", (second.name,)))
    total = Add(name, (block.end, ops[-1].name))
    edit.rename(block.end, total.name)
    edit.insert(block.end, *ops, total)
    for one in first:
        edit.random(one, 2.0 if one is first[-1] else 1.0)
    edit.zeros(second)
    return [*(one.name for one in first), second.name]


def _narrow(name: str, source: str, shape: Shape, stride: int) -> tuple[Conv, ...]:
    """Return the convolutions with which a branch of DA3 begins; ``shape``: of what they read.

    The masters of a depthwise convolution are those of a dense one of as many outputs as the array
    has lanes. So there are no more channels than these, of which each sees all of the map's.
    """
    kernel = _kernel(shape)
    if kernel == 1 or shape[0] <= _WIDTH:
        return Conv(_WIDTH, kernel, stride, kernel // 2, True, f"{name}_a", 1, (source,)),
    return (Conv(_WIDTH, 1, 1, 0, False, f"{name}_r", 1, (source,)),
            Conv(_WIDTH, kernel, stride, kernel // 2, True, f"{name}_a", 1, (f"{name}_r",)))


def _two_groups(name: str, source: str, shape: Shape, stride: int) -> tuple[Conv, ...]:
    """Return the convolution with which a lite residual begins; ``shape``: of what it reads."""
    groups = 2 if shape[0] % 2 == 0 else 1
    kernel = _kernel(shape)
    return Conv(shape[0], kernel, stride, kernel // 2, True, f"{name}_a", groups, (source,)),


def _kernel(shape: Shape) -> int:
    """Return the kernel of a branch: 3, or 1 where the others of its weights would see padding."""
    return 1 if shape[1:] == (1, 1) else 3


def _end_of(edit: Edit, name: str, ending: str) -> str:
    """Return the map that readers of ``name`` read: the sum behind it, if a branch ends there."""
    return name + ending if name + ending in edit.shapes else name


def resolution(shape: Shape, out: Shape) -> tuple[int, int, int] | None:
    """Return pooling, stride and upsampling factor of a branch; None if none has the right size.

    Args:
        shape: of the map that it reads.
        out: of the map to which it is added.
    """
    best: tuple[int, int, int] | None = None
    for pool in (2, 1):
        for factor in (2, 1):
            for stride in range(1, MAX_STRIDE + 1):
                sizes = [((size // pool - 1) // stride + 1) * factor for size in shape[1:]]
                whole = all(size % pool == 0 for size in shape[1:])
                if best is None and whole and tuple(sizes) == out[1:]:
                    best = pool, stride, factor
    return best
