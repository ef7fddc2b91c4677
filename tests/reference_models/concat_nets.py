"""Small networks whose branches are concatenated, with everything that can be around them."""

from __future__ import annotations

from pynq_train.graph import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Graph,
    MaxPool2x2,
    Op,
    PadChannels,
    PickChannels,
    Relu,
    Relu6,
)

Shape = tuple[int, int, int]


def _inception(norm: bool) -> list[Op]:
    """Four branches of 1x1, 3x3, 5x5 and pooled 1x1 convolutions, normalised or not."""
    ops: list[Op] = [Conv(8, 3, padding=1, name="stem"), Relu(name="s")]

    def conv(name: str, out: int, kernel: int, source: str) -> str:
        ops.append(Conv(out, kernel, 1, "same", not norm, name, 1, (source,)))
        if norm:
            ops.append(BatchNorm(name=f"{name}.bn"))
        ops.append(Relu(name=f"{name}.r"))
        return f"{name}.r"

    ends = [conv("a", 8, 1, "s"), conv("b", 12, 3, conv("b0", 4, 1, "s")),
            conv("c", 4, 5, conv("c0", 4, 1, "s"))]
    ops.append(AvgPool(3, 1, 1, "pool", ("s",)))
    ends.append(conv("d", 4, 1, "pool"))
    return [*ops, Concat("join", tuple(ends)), Conv(8, 3, padding=1, name="after"), Relu(),
            GlobalAvgPool(), Dense(4, name="logits")]


def _fire(pool: bool) -> list[Op]:
    """Two Fire modules; ``pool``: with max pooling behind the first one."""
    ops: list[Op] = [Conv(8, 3, padding=1, name="stem"), Relu(name="s")]
    at = "s"
    for number in range(2):
        name = f"f{number}"
        ops += [Conv(4, 1, name=f"{name}.squeeze", inputs=(at,)), Relu(name=f"{name}.s"),
                Conv(8, 1, name=f"{name}.one"), Relu(name=f"{name}.o"),
                Conv(8, 3, padding=1, name=f"{name}.three", inputs=(f"{name}.s",)),
                Relu(name=f"{name}.t"), Concat(name, (f"{name}.o", f"{name}.t"))]
        at = name
        if pool and number == 0:
            ops.append(MaxPool2x2(f"{name}.pool"))
            at = f"{name}.pool"
    return [*ops, Conv(4, 1, name="last", inputs=(at,)), Relu(), GlobalAvgPool(),
            Dense(4, name="logits")]


def _dense_block(lists: bool) -> list[Op]:
    """Three layers that each read all before them; ``lists``: as lists of maps, else nested."""
    ops: list[Op] = [Conv(8, 3, padding=1, bias=False, name="stem")]
    maps, at = ["stem"], "stem"
    for number in range(3):
        name = f"l{number}"
        ops += [BatchNorm(name=f"{name}.bn", inputs=(at,)), Relu(name=f"{name}.r"),
                Conv(4, 3, 1, 1, False, name)]
        maps.append(name)
        at_new = f"x{number}"
        ops.append(Concat(at_new, tuple(maps) if lists else (at, name)))
        at = at_new
    return [*ops, BatchNorm(name="bn"), Relu(), GlobalAvgPool(), Dense(4, name="logits")]


_LAYERS: dict[str, tuple[Shape, list[Op]]] = {
    "inception": ((3, 7, 6), _inception(False)),
    "inception with norms": ((3, 7, 6), _inception(True)),
    "fire": ((3, 6, 6), _fire(False)),
    "fire with pooling": ((3, 7, 6), _fire(True)),
    "dense block": ((3, 6, 5), _dense_block(False)),
    "dense block of lists": ((3, 6, 5), _dense_block(True)),
    "input, twice and shared": ((4, 6, 6), [
        Conv(8, 3, padding=1, name="a"), Relu(name="r"),
        Concat("one", ("input", "r", "r")), Conv(4, 1, name="b"), Relu(name="s"),
        Concat("two", ("s", "r")), Conv(8, 3, 2, 1, name="c"), Relu(), Dense(4, name="logits")]),
    "tails behind": ((3, 8, 8), [
        Conv(8, 3, padding=1, name="a"), BatchNorm(name="an"), Conv(4, 1, name="b",
                                                                  inputs=("input",)),
        Concat("join", ("an", "b")), Relu6(name="r"), MaxPool2x2(name="p"),
        Conv(8, 3, 1, 1, False, "c"), Conv(4, 1, name="d", inputs=("p",)),
        Concat("two", ("c", "d")),
        Relu(), Dense(4, name="logits")]),
    "sums of concatenations": ((3, 6, 6), [
        Conv(12, 3, padding=1, name="a"), Relu(name="r"), Conv(8, 1, bias=False, name="b"),
        BatchNorm(name="bn"), Relu(name="s"), Conv(4, 3, padding=1, name="c", inputs=("r",)),
        Concat("join", ("s", "c")), Add("sum", ("join", "r")), Relu(name="t"),
        Conv(4, 3, 1, 1, False, "d"), BatchNorm(name="dn"), Add(name="e", inputs=("dn", "s4")),
        Relu(), Dense(4, name="logits")]),
    "norms of one map and of sums": ((3, 6, 6), [
        Conv(8, 3, 1, 1, False, "a"), BatchNorm(name="n"), Relu(name="r"),
        BatchNorm(0.2, 0.01, name="m", inputs=("a",)), Relu(name="s"), Add("sum", ("r", "s")),
        BatchNorm(name="k"), Relu(name="t"), Conv(4, 3, 1, 1, False, "b"),
        Concat("join", ("sum", "b")), BatchNorm(name="j"), Relu(), GlobalAvgPool(),
        Dense(4, name="logits")]),
    "shortcut without weights": ((3, 8, 7), [
        Conv(8, 3, padding=1, name="a"), Relu(name="r"), AvgPool(1, 2, name="s"),
        PadChannels(4, 8, "p"), Conv(20, 3, 2, 1, name="b", inputs=("r",)),
        Add("sum", ("b", "p")), Relu(name="t"), PadChannels(1, 3, "q", ("s",)), Relu(name="u"),
        Concat("join", ("t", "u")), GlobalAvgPool(), Dense(4, name="logits")]),
    "vectors": ((3, 6, 6), [
        Conv(8, 3, padding=1, name="a"), Relu(name="r"), GlobalAvgPool("m"),
        Dense(12, name="u", inputs=("r",)), Relu(name="v"), Concat("join", ("m", "v")),
        Dense(8, name="w"), Relu(name="q"), Dense(4, name="z", inputs=("join",)),
        Concat("more", ("q", "z")), Dense(4, name="logits")]),
    "flattened maps": ((3, 6, 6), [
        Conv(8, 3, 2, 1, name="a"), Relu(name="r"), Flatten("f"),
        Conv(6, 3, 2, 1, name="b", inputs=("input",)), Flatten("g"),
        Concat("join", ("f", "g")), Dense(4, name="logits")]),
    "channels of any number": ((3, 8, 8), [
        Conv(5, 3, padding=1, name="a"), Relu(name="r"), Conv(6, 3, padding=1, name="b",
                                                              inputs=("input",)),
        Conv(3, 1, name="c", inputs=("input",)), Concat("join", ("r", "b", "c")),
        MaxPool2x2("p"), Conv(7, 3, padding=1, name="d", inputs=("join",)),
        Concat("more", ("join", "d")), BatchNorm(name="n"), Relu(name="s"),
        Conv(21, 3, 2, 1, False, "e", 21), BatchNorm(name="m"),
        Conv(21, 1, 2, name="f", inputs=("more",)), Add("sum", ("m", "f")),
        Concat("last", ("p", "sum")), Relu(name="t"), Dense(4, name="logits")]),
    "vectors of any number": ((3, 6, 6), [
        Conv(5, 3, padding=1, name="a"), Relu(name="r"), GlobalAvgPool("m"),
        Dense(6, name="u", inputs=("r",)), Relu(name="v"), Concat("join", ("m", "v")),
        BatchNorm(name="n"), Dense(7, name="w"), Relu(name="q"), Dense(2, name="z"),
        Dense(3, name="x", inputs=("join",)), Concat("logits", ("z", "x"))]),
    "flattened maps of any number": ((3, 6, 6), [
        Conv(5, 3, 2, 1, name="a"), Relu(name="r"), Flatten("f"),
        Conv(6, 3, 2, 1, name="b", inputs=("input",)), Flatten("g"),
        Concat("join", ("f", "g")), Dense(4, name="logits")]),
    "split and shuffled": ((4, 8, 8), [
        PickChannels((3, 1, 0), "of.input"), Conv(10, 3, padding=1, name="a"), Relu(name="r"),
        PickChannels(tuple(range(5)), "p"), PickChannels(tuple(range(5, 10)), "q", ("r",)),
        Conv(5, 1, name="b"), Relu(name="s"), Conv(5, 3, 1, 1, False, "c", 5), Conv(5, 1, name="d"),
        Concat("join", ("p", "d")), Relu(name="t"),
        PickChannels((0, 5, 1, 6, 2, 7, 3, 8, 4, 9), "shuffle"),
        PickChannels((9, 9, 0, 3), "twice"),
        PickChannels((0, 1, 2, 4, 3, 5, 6), "x", ("shuffle",)), AvgPool(2, 2, name="y"),
        Conv(4, 3, 2, 1, name="e", inputs=("twice",)), Relu(name="z"), Concat("last", ("z", "y")),
        GlobalAvgPool("m"),
        PickChannels((10, 0, 2, 4, 6), "v"), Add("sum", ("v", "v")), Dense(4, name="logits")]),
    "logits": ((3, 6, 6), [
        Conv(8, 3, 2, 1, name="a"), Relu(name="r"), Dense(4, name="b"),
        Dense(3, name="c", inputs=("r",)), Concat("logits", ("b", "c"))]),
}


def _mend(name: str, ops: list[Op]) -> list[Op]:
    """The residual with fewer channels needs a map of its size."""
    if name != "sums of concatenations":
        return ops
    at = next(i for i, op in enumerate(ops) if op.name == "e")
    return [*ops[:at], Conv(4, 1, name="s4", inputs=("t",)), *ops[at:]]


NETWORKS = {name: Graph.build(shape, _mend(name, layers), name)
            for name, (shape, layers) in _LAYERS.items()}
