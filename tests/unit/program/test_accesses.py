"""What the verifier believes that a descriptor touches, against its loops, word by word."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from reference_models import norm_cases, pool_cases, vector_cases
from reference_models.dag_nets import NETWORKS
from reference_models.engine_parts import AddressGenerator, Affine, nest
from scheduled import Scheduled, all_kinds

from pynq_train.hw.commands import (
    UNITS_OF,
    LoadMode,
    Opcode,
    pack_descriptor,
    places,
    unpack_descriptor,
)
from pynq_train.hw.curves import TABLES
from pynq_train.hw.norm import BACK, GROUPED, NormProgram
from pynq_train.program import access
from pynq_train.program.access import accesses, row_spans
from pynq_train.program.spans import Spans

Fields = dict[str, int]
Touched = dict[tuple[str, bool], set[int]]
"""Addresses of words by what they are and whether they are written."""
MASK32 = (1 << 32) - 1
RECORD = 1 << 24


def words(start: int, count: int) -> set[int]:
    """Addresses of ``count`` words one behind the other."""
    return {start + 8 * k for k in range(count)}


def of_spans(spans: Spans) -> set[int]:
    """Addresses of the words of a set of bytes; it holds whole words."""
    found: set[int] = set()
    for start, end in zip(spans.starts.tolist(), spans.ends.tolist()):
        assert (end - start) % 8 == 0
        found |= words(start, (end - start) // 8)
    return found


def seen(fields: Fields, taps: Sequence[Fields] = ()) -> Touched:
    """What the verifier sees, but the record."""
    touched: Touched = {}
    for found in accesses(fields, taps):
        assert found.unit in UNITS_OF[Opcode(fields["pre.opcode"])]
        key = found.what, found.write
        touched[key] = touched.get(key, set()) | of_spans(found.spans)
    assert touched.pop(("record", True)) == words(fields["pre.rec_off"], 4)
    return touched


def made(fields: Fields) -> Fields:
    """All fields of a descriptor; the record has a place of its own."""
    return unpack_descriptor(pack_descriptor({**fields, "pre.rec_off": RECORD}))


def parted(touched: Touched, write: bool) -> dict[str, set[int]]:
    """What is read, or written, by name."""
    return {what: value for (what, written), value in touched.items() if written == write}


# -- vector unit
def vector_words(f: Fields) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Words that a VECTOR reads and writes: the loop of the unit, plane by plane."""
    images, blocks, count = f["v.v_images"], f["v.v_blocks"], f["v.v_words"]
    a, flags, lines = set(), set(), set()
    at = mask = line = 0
    for _ in range(blocks):
        for image in range(images):
            a |= words(at, count)
            flags |= words(f["v.m_off"] + mask, f["v.m_words"])
            lines |= words(line, 1)
            line += 8
            last = image == images - 1
            at += f["v.v_jump"] if last else f["v.v_step"]
            mask += f["v.m_jump"] if last else f["v.m_step"]

    def shifted(offset: int, base: set[int]) -> set[int]:
        return {offset + place for place in base}

    read = {"map a": shifted(f["v.a_off"], a)}
    write: dict[str, set[int]] = {}
    if f["v.v_b"]:
        what, base = ("spread map b", lines) if f["v.v_spread"] else ("map b", a)
        read[what] = shifted(f["v.b_off"], base)
    if f["v.v_mask_a"] or f["v.v_mask_b"]:
        read["flags"] = flags
    if f["v.v_flags"]:
        write["flags"] = flags
    if f["v.v_table"] or f["v.v_btable"]:
        read["coefficients"] = words(f["v.k_off"], 2 * 4 * blocks)
    if f["v.k_log"]:  # whichever of the tables of its curve the step block names
        read["curve"] = words(f["v.k_off"], TABLES << f["v.k_log"])
    if f["v.v_write"]:
        what, base = ("reduced result", lines) if f["v.v_reduce"] else ("result", a)
        write[what] = shifted(f["v.v_off"], base)
    if f["v.v_sums"]:
        write["sums"] = words(f["v.s_off"], 2 * 4 * blocks)
    return read, write


@pytest.mark.parametrize("seed", range(60))
def test_vector(seed: int) -> None:
    rng = random.Random(seed)
    images, blocks, count = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 40)
    offsets = {name: 65536 * k + 8 * k for k, name in enumerate(vector_cases.SYMBOLS)}
    modes = vector_cases.random_modes(rng, factors=seed % 3 == 2)
    fields, _, _ = vector_cases.random_case(rng, images, blocks, count, offsets, modes)
    gap = rng.choice((0, 8, 128))
    fields["v.v_step"] += gap
    fields["v.v_jump"] -= (images - 1) * gap
    f = made(fields)
    found = seen(f)
    assert (parted(found, False), parted(found, True)) == vector_words(f)


@pytest.mark.parametrize("mode", vector_cases.MODES)
def test_every_mode_of_a_vector_alone(mode: str) -> None:
    """Each mode asks for its own tensors, whatever the others do."""
    f = made({"pre.opcode": int(Opcode.VECTOR), **vector_cases.layout(2, 3, 17), f"v.{mode}": 1,
              **{f"v.{name}_off": 4096 * k for k, name in enumerate(vector_cases.SYMBOLS)}})
    found = seen(f)
    assert (parted(found, False), parted(found, True)) == vector_words(f)


@pytest.mark.parametrize("program", NormProgram)
@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("blocks", [1, 3])
def test_norm(program: NormProgram, parts: int, blocks: int) -> None:
    at = {name: 8192 * k + 8 * k for k, name in enumerate(norm_cases.SYMBOLS)}
    fields, _, _ = norm_cases.random_case(random.Random(1), program, blocks, parts, at)
    f = made(fields)
    channel, pair = 4 * blocks, 8 * blocks
    back, grouped = program in BACK, program in GROUPED
    sums: set[int] = set()
    if program != NormProgram.FORWARD_FROZEN:
        for part in range(parts):
            sums |= words(at["sums"] + part * f["n.n_step"], pair)

    def twice(start: int) -> set[int]:
        """Words of gamma's and of beta's channels."""
        return words(start, channel) | words(start + f["n.p_step"], channel)

    running, kept = words(at["running"], pair), words(at["kept"], pair)
    reads = {} if grouped else {"masters": twice(at["masters"])}
    reads |= {"sums": sums} if sums else {}
    writes = {"coefficients": words(at["table"], pair)}
    (reads if back else writes)["statistics"] = kept
    if back and not grouped:
        writes["gradients"] = twice(at["gradients"])
    elif not grouped:
        reads["running statistics"] = running
    if program == NormProgram.FORWARD:
        writes["running statistics"] = running
    found = seen(f)
    assert (parted(found, False), parted(found, True)) == (reads, writes)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("keep", [0, 1])
def test_pool(back: bool, keep: int) -> None:
    fields = pool_cases.geometry(3, 2, (5, 7), (3, 3), (3, 2, 1, 0), back)
    for number, name in enumerate("iow"):
        fields |= {f"p.{name}_off": 65536 * number + 8,
                   f"p.{name}_step": fields[f"p.{name}_step"] + 8 * number}
    f = made(fields)
    f[next(name for name, place in places(Opcode.POOL) if place.field.doc.startswith(
        "forward: write the"))] = keep

    def images(name: str, count: int) -> set[int]:
        return {place for image in range(3)
                for place in words(f[f"p.{name}_off"] + image * f[f"p.{name}_step"], count)}

    sizes = {"i": 2 * 9, "o": 2 * 35} if back else {"i": 2 * 35, "o": 2 * 9}
    argmax = {"argmax indices": images("w", 2 * 3)}
    found = seen(f)
    assert parted(found, False) == {"map that it reads": images("i", sizes["i"]),
                                    **(argmax if back else {})}
    assert parted(found, True) == {"map that it writes": images("o", sizes["o"]),
                                   **(argmax if keep and not back else {})}


# -- update and softmax unit
@pytest.mark.parametrize("copy", [0, 1])
@pytest.mark.parametrize("plain", [0, 1])
def test_update(copy: int, plain: int) -> None:
    f = made({"pre.opcode": int(Opcode.UPDATE), "u.g_off": 8, "u.wv_off": 4096,
              "u.w16_off": 8192, "u.u_count": 20, "u.u_copy": copy, "u.u_plain": plain})
    masters = {"masters": words(4096, 10 if plain else 20)}
    found = seen(f)
    assert parted(found, False) == {"gradient sums": words(8, 20), **masters}
    assert parted(found, True) == masters | ({"16-bit copy": words(8192, 5)} if copy else {})


@pytest.mark.parametrize("grad", [0, 1])
@pytest.mark.parametrize(("classes", "blocks"), [(1, 1), (4, 1), (5, 2), (10, 3)])
def test_softmax(classes: int, blocks: int, grad: int) -> None:
    f = made({"pre.opcode": int(Opcode.SOFTMAX), "f.logit_off": 8, "f.label_off": 4096,
              "f.dlogit_off": 8192, "f.f_batch": 7, "f.f_classes": classes, "f.f_grad": grad})
    found = seen(f)
    assert parted(found, False) == {"logits": words(8, 7 * blocks), "labels": words(4096, 7)}
    assert parted(found, True) == (
        {"logit gradients": words(8192, 7 * blocks)} if grad else {})


def test_fence() -> None:
    assert accesses(made({"pre.opcode": int(Opcode.FENCE)}), ()) == []


# -- address generators
def walked(f: Fields, name: str, counts: list[int], taps: Sequence[Fields]
           ) -> tuple[set[int], set[int]]:
    """Words and flag words that an address generator touches: ``docs/engine.md`` 3, literally.

    A row that begins below address 0 begins near the end of all addresses, outside every arena.
    """
    walk = AddressGenerator(f, name, counts, list(taps))
    data, flags = set(), set()
    for index, level in nest(counts):
        if not any(index[:walk.reuse]):
            c = walk.coords[0].value
            for _, _, addr, faddr, valid in walk.rows():
                columns = [x for x in range(c, c + walk.n[0]) if valid and 0 <= x < walk.lim[0]]
                each = [(x >> 1) - (c >> 1) if walk.mode == LoadMode.UNPOOL else x - c
                        for x in columns]
                for place in each:
                    data.add((addr + 8 * each[0] & MASK32) + 8 * (place - each[0]))
                if columns and walk.mode != LoadMode.PLAIN:
                    pixels = 8 if walk.mode == LoadMode.UNPOOL else 16
                    flags |= words(faddr & MASK32, columns[-1] // pixels + 1)
        if level >= 0:
            walk.step(level)
    return data, flags


def random_generator(rng: random.Random, name: str) -> Fields:
    """Fields of an address generator that goes anywhere, also below address 0 and back."""
    def near(still: float, least: int, most: int) -> int:
        return 0 if rng.random() < still else rng.randint(least, most)

    back = 30 if rng.random() < 0.5 else 0
    f: Fields = {f"{name}.addr": 8 * rng.randint(0, 40), f"{name}.faddr": 8 * rng.randint(0, 40),
                 f"{name}.mode": rng.choice(list(LoadMode)), f"{name}.reuse": rng.randint(0, 2),
                 f"{name}.taps": int(rng.random() < 0.3), f"{name}.sum": 0, f"{name}.align": 0}
    for level in range(5):
        still = rng.choice((0.0, 0.5, 1.0))
        f[f"{name}.daddr{level}"] = 8 * near(still, -back, 60)
        f[f"{name}.fdaddr{level}"] = 8 * near(0.3, -back, 60)
        for k in range(4):
            f[f"{name}.dc{4 * level + k}"] = near(max(still, 0.4), -3, 3)
    long = rng.choice((4, 40))
    for k in range(4):
        f[f"{name}.n{k}"] = rng.randint(1, long if k == 0 else 4)
        f[f"{name}.lim{k}"] = rng.randint(0, long if k == 0 else 6)
        f[f"{name}.c{k}"] = near(0.3, -3, 3)
    for k in range(3):
        f[f"{name}.drow{k}"] = 8 * rng.randint(-back, 50)
        f[f"{name}.fdrow{k}"] = 8 * rng.randint(-back, 50)
    return f | {f"{name}.pos{k}": 0 for k in range(4)} | {"g.g_tile": 16}


@pytest.mark.parametrize("rows", [1, 7, 1 << 20])
@pytest.mark.parametrize("seed", range(150))
def test_random_address_generators(seed: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modes, taps, reuse, padding and odd first rows in any combination.

    ``rows``: how many of them are replayed at once.
    """
    monkeypatch.setattr(access, "_SLICE", rows)
    rng = random.Random(seed)
    counts = [rng.choice((1, 1, 2, 3)) for _ in range(5)]
    name = rng.choice(("x", "s", "yw"))
    f = random_generator(rng, name)
    if name == "yw":
        f[f"{name}.mode"] = 0
    taps = [{"woff": rng.randint(0, 9)} for _ in range(f[f"{name}.n2"] + 1)]
    data, flags = row_spans(f, name, counts, taps)
    assert (of_spans(data), of_spans(flags)) == walked(f, name, counts, taps)


def test_weight_offsets_count_in_output_lanes() -> None:
    """A wider array has longer blocks of weights behind a tap's offset."""
    f = random_generator(random.Random(1), "s") | {
        "s.taps": 1, "s.mode": 0, "g.g_tile": 32, "s.addr": 0}
    f |= {f"s.{name}{k}": value for k in range(4) for name, value in
          (("n", 1), ("lim", 1), ("c", 0))}
    assert of_spans(row_spans(f, "s", [1] * 5, [{"woff": 3}])[0]) == {3 * 256}


# -- convolutions of networks
PARTS = {"x": ("streamed operand", "flags of the streamed operand"),
         "s": ("S operand", "flags of the S operand")}


def conv_words(f: Fields, taps: Sequence[Fields]) -> tuple[dict[str, set[int]],
                                                           dict[str, set[int]]]:
    """Words that a CONV or GRADIENT reads and writes."""
    tiles, segments = [f[f"pre.t{k}"] for k in range(5)], [f"y.y{k}" for k in range(5)]
    tile, read, write = 8 * f["g.g_tile"], dict[str, set[int]](), dict[str, set[int]]()
    for name, what in PARTS.items():
        for key, found in zip(what, walked(f, name, tiles, taps)):
            read[key] = found
    if f["s.sum"]:
        write["channel sums"] = words(f["s.sum_off"], tile // 8 * tiles[4])
    if f["pre.opcode"] == Opcode.GRADIENT:
        count = f["u.u_count"]
        read["masters"] = write["masters"] = words(
            f["u.wv_off"], count // 2 if f["u.u_plain"] else count)
        if f["u.u_copy"]:
            write["16-bit copy"] = words(f["u.w16_off"], count // 4)
    else:
        counts = [f[name] for name in segments]
        write["stored tensor"] = walked(f, "yw", counts, ())[0]
        if f["y.flags"]:
            write["stored flags"] = walked(f, "yf", counts, ())[0]
        if f["y.bias"]:
            bias = Affine(f["y.bias_off"], [f[f"y.dbias{t}"] for t in range(5)])
            read["biases"] = set()
            for _, level in nest(counts):
                read["biases"] |= words(bias.value & MASK32, tile // 8)
                if level >= 0:
                    bias.step(level)
    return ({k: v for k, v in read.items() if v}, {k: v for k, v in write.items() if v})


@pytest.mark.parametrize("name", ["residual", "pools", "depthwise", "all kinds"])
def test_convolutions_of_a_network(name: str) -> None:
    planned = all_kinds() if name == "all kinds" else Scheduled.of(NETWORKS[name], 2)
    program, kinds = planned.program(), set()
    for number, f in enumerate(planned.fields):
        if f["pre.opcode"] in (Opcode.CONV, Opcode.GRADIENT):
            taps = program.tap_table(number)
            found = seen(f, taps)
            assert (parted(found, False), parted(found, True)) == conv_words(f, taps)
            kinds |= set(found)
    if name == "all kinds":  # and several m tiles
        assert ("stored flags", True) in kinds and ("biases", False) in kinds
    assert ("channel sums", True) in kinds
