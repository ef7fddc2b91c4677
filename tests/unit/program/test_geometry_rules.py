"""Rules of the geometry: every field of it counts, and what a computation must have done before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
from reference_models.dag_nets import NETWORKS
from scheduled import Fields, Scheduled, all_kinds

from pynq_train.errors import IllegalProgram
from pynq_train.graph import BatchNorm, Conv, Dense, Graph, MaxPool
from pynq_train.hw.commands import Opcode, Pass, places
from pynq_train.hw.geometry import Work
from pynq_train.program import verify_program
from pynq_train.program.access import accesses
from pynq_train.program.computations import check_computations
from pynq_train.program.spans import Spans
from pynq_train.program.unit_meaning import agreements, touched_by_units

NETS = ("all kinds", "residual", "pools", "dropout", "flat dropout", "frozen", "shortcut",
        "multiplied", "groups", "twice", "pooled blocks", "rectangles", "rectangular pools", "line",
        "group norms", "curves", "gates")
COMMON = {"pre.param", "pre.rec_off"}
UPDATE = {"u.u_count", "u.u_plain", "u.u_copy"}
DROPS = {f"v.d_{name}" for name in ("first", "step", "image", "block", "least", "tensor")}
CONSTANTS = {f"n.n_{name}_{part}" for name in ("mean", "var", "eps") for part in "me"}
AGREED = {
    Opcode.CONV: (COMMON, set()), Opcode.UPDATE: (COMMON | UPDATE, set()),
    Opcode.GRADIENT: (COMMON | UPDATE | {"u.u_rows"}, set()),
    Opcode.SOFTMAX: (COMMON | {"f.f_batch", "f.f_classes", "f.f_grad", "f.f_mse"}, set()),
    Opcode.POOL: (COMMON | {f"p.{name}" for name in (
        "p_images", "p_rows", "p_cols", "q_rows", "q_cols", "p_blocks", "p_kernel", "p_stride",
        "p_kernel_cols", "p_stride_cols",
        "p_top", "p_left", "p_back", "p_argmax")}, set()),
    Opcode.VECTOR: (COMMON | {f"v.v_{name}" for name in (
        "images", "blocks", "words", "b", "spread", "reduce", "write", "sums", "square", "table",
        "btable", "relu", "clip", "flags", "mask_a", "mask_b", "drop", "factor", "lanes")}
        | {"v.k_log"}, DROPS),
    Opcode.NORM: (COMMON | CONSTANTS | {"n.n_program", "n.n_blocks", "n.n_join"},
                  {"n.n_parts", "n.s_off", "n.n_step", "n.d_off", "n.p_off", "n.p_step"}),
}
"""Fields that say the same as the geometry: always, and where they mean something."""


@cache
def planned(name: str) -> Scheduled:
    """A training step."""
    if name == "pooled blocks":
        net = Graph.build((2, 7, 8), [Conv(8, 3), MaxPool(3, 2, 1), Dense(3)], "pooled")
        return Scheduled.of(net, 4)
    return all_kinds() if name == "all kinds" else Scheduled.of(NETWORKS[name], 4)


def descriptors() -> Iterator[tuple[str, int, Fields]]:
    """All descriptors of all networks."""
    for name in NETS:
        for number, f in enumerate(planned(name).fields):
            yield name, number, f


def differing(f: Fields) -> set[str]:
    """Fields that disagree with the geometry."""
    return {one.field for one in agreements(f) if f[one.field] != one.expected}


def by_name(found: Iterator[tuple[str, bool, Spans]]) -> dict[tuple[str, bool], list[list[int]]]:
    """Bytes of each access as intervals."""
    parts: dict[tuple[str, bool], list[Spans]] = {}
    for what, write, spans in found:
        parts.setdefault((what, write), []).append(spans)
    unions = {key: Spans.union(some) for key, some in parts.items()}
    return {key: [one.starts.tolist(), one.ends.tolist()] for key, one in unions.items()}


def seen(f: Fields) -> dict[tuple[str, bool], list[list[int]]]:
    """What a descriptor of a small unit touches, but its record."""
    return by_name((a.what, a.write, a.spans) for a in accesses(f, ()) if a.what != "record")


@pytest.mark.parametrize("name", NETS)
def test_programs_are_legal(name: str) -> None:
    verify_program(planned(name).program())
    check_computations(planned(name).program(), labels(planned(name)))


def test_fields_that_agree() -> None:
    """Which fields are compared, by opcode; each alone is noticed when it changes."""
    everywhere: dict[Opcode, set[str]] = {}
    for _, _, f in descriptors():
        opcode = Opcode(f["pre.opcode"])
        names = {one.field for one in agreements(f)}
        always, sometimes = AGREED[opcode]
        assert always <= names <= always | sometimes
        everywhere[opcode] = everywhere.get(opcode, set()) | names
        assert differing(f) == set()
        for field in names:
            for more in (-1, 1):
                assert differing({**f, field: f[field] + more}) == {field}
    assert everywhere == {opcode: a | b for opcode, (a, b) in AGREED.items()}


def test_accesses_are_those_of_the_geometry() -> None:
    for _, _, f in descriptors():
        if f["pre.opcode"] not in (Opcode.CONV, Opcode.GRADIENT):
            assert by_name(touched_by_units(f)) == seen(f)


def counts(f: Fields, field: str) -> bool:
    """Whether another value of a geometry field is noticed, by a field or by an access."""
    for more in (1, 8, 1 << 33):
        if more >> 32 and field != "gn.eps":
            continue
        changed = {**f, field: 1 - f[field] if f[field] < 2 and more == 1 else f[field] + more}
        try:
            same = not differing(changed) and by_name(touched_by_units(changed)) == seen(f)
        except (KeyError, ZeroDivisionError, OverflowError):
            continue
        if not same:
            return True
    return False


OF_COMPUTATIONS = {"gc.layer", "gc.work", "gc.node", "gc.part", "gc.batch"}
"""Fields that only the rules over a whole program read."""


@pytest.mark.parametrize("opcode", [Opcode.VECTOR, Opcode.NORM, Opcode.POOL, Opcode.SOFTMAX,
                                    Opcode.UPDATE])
def test_every_field_of_the_geometry_counts(opcode: Opcode) -> None:
    names = {name for name, place in places(opcode)
             if name.startswith("g") and not place.field.reserved} - OF_COMPUTATIONS
    if opcode == Opcode.UPDATE:
        # Those of a GRADIENT alone; updates have no images.
        names -= {"gu.rows", "gu.copy", "gc.first", "gc.count"}
    if opcode in (Opcode.NORM, Opcode.SOFTMAX):
        names.discard("gc.first")
    for name in names:
        some = [f for _, _, f in descriptors() if f["pre.opcode"] == opcode]
        assert any(counts(f, name) for f in some), name


VERIFIED = [
    ("residual", Opcode.VECTOR, "v.v_square", 1), ("residual", Opcode.NORM, "n.n_eps_e", 1),
    ("residual", Opcode.UPDATE, "pre.param", -1), ("all kinds", Opcode.SOFTMAX, "f.f_mse", 1),
    ("dropout", Opcode.VECTOR, "v.d_tensor", 1), ("curves", Opcode.VECTOR, "v.k_log", 1),
    ("curves", Opcode.VECTOR, "v.v_lanes", 1)]


@pytest.mark.parametrize(("name", "opcode", "field", "more"), VERIFIED)
def test_the_verifier_compares_them(name: str, opcode: Opcode, field: str, more: int) -> None:
    step = planned(name)
    number = next(k for k, f in enumerate(step.fields) if f["pre.opcode"] == opcode
                  and (field != "v.d_tensor" or f["v.v_drop"])
                  and (field not in ("v.v_square", "f.f_mse") or not f[field]))
    value = step.fields[number][field] + more
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*: {field}, .*: expected .*, "
                                             "as its geometry says, found"):
        verify_program(step.program({number: {field: value}}))


# -- whole computations
Fits = Callable[[Fields], bool]


def number(name: str, fits: Fits, last: bool = False) -> int:
    """Position of the first (last) descriptor that fits."""
    found = [k for k, f in enumerate(planned(name).fields) if fits(f)]
    return found[-1 if last else 0]


def of_work(work: Work, **fields: int) -> Fits:
    """Descriptors of a work with these fields; ``__`` stands for the dot."""
    return lambda f: f["gc.work"] == work and all(
        f.get(key.replace("__", ".")) == value for key, value in fields.items())


def refused(name: str, at: int, changes: Fields, text: str) -> None:
    """The rules over a whole program refuse it, whatever the others say."""
    step = planned(name)
    with pytest.raises(IllegalProgram, match=text):
        check_computations(step.program({at: changes}), labels(step))


def labels(step: Scheduled) -> list[str]:
    return [f"descriptor {k}" for k in range(len(step.fields))]


def test_works_that_do_not_exist() -> None:
    refused("residual", 3, {"gc.work": 14}, r"descriptor 3: gc\.work: expected 0\.\.13, found 14")


def test_entries_serve_one_computation() -> None:
    """Descriptors of a step with the entry of another computation."""
    step = planned("residual")
    shared = {Work.STATISTICS: Work.FORWARD, Work.BARRIER: Work.FORWARD,
              Work.BIAS_GRADIENT: Work.WEIGHT_GRADIENT, Work.UPDATE_GAMMA: Work.WEIGHT_GRADIENT,
              Work.GRADIENT_SUMS: Work.NODE}

    def owner(f: Fields) -> tuple[int, int, int]:
        work = shared.get(Work(f["gc.work"]), Work(f["gc.work"]))
        node = f["gc.node"] if work in (Work.NODE, Work.GRADIENT_COEFFICIENTS) else 0
        return work, f["gc.layer"], node

    owners: dict[int, set[tuple[int, int, int]]] = {}
    for at, f in enumerate(step.fields):
        owners.setdefault(f["gc.entry"], set()).add(owner(f))
        if at % 6:
            continue
        other = next(g for g in step.fields if owner(g) != owner(f))
        refused("residual", at, {"gc.entry": other["gc.entry"]},
                rf"step-block entry {other['gc.entry']}: expected one of .* alone, found that of|"
                r"step-block entry of .*: expected [0-9]+, as before, found")
    assert {len(one) for one in owners.values()} == {1}


def test_parts_have_one_entry() -> None:
    second = number("residual", of_work(Work.FORWARD, gc__part=1))
    refused("residual", second, {"gc.entry": 4095}, r"step-block entry of forward of layer [0-9]+: "
            r"expected [0-9]+, as before, found 4095")


def test_images_of_a_convolution() -> None:
    conv = number("residual", lambda f: f["pre.opcode"] == Opcode.CONV and f["g.g_images"] == 1
                  and f["g.g_out_cols"] > 1)
    count = planned("residual").fields[conv]["gc.count"]
    refused("residual", conv, {"g.g_images": 7},
            rf"descriptor {conv}: g_images: expected {count}, gc\.count, found 7")


@pytest.mark.parametrize(("changes", "text"), [
    ({"gc.count": 0}, r"images: expected some of 0\.\.3, found"),
    ({"gc.first": 4}, r"images: expected some of 0\.\.3, found 4\.\.4"),
    ({"gc.batch": 0}, r"images: expected some of 0\.\.-1, found"),
    ({"gc.count": 5}, r"images: expected some of 0\.\.3"),
    ({"gc.first": 1}, "images of the mini-batch: expected each of 0..3 once, found"),
    ({"gc.part": 1}, r"parts of the mini-batch: expected 0\.\.3, each once, found"),
    ({"gc.part": 9}, r"parts of the mini-batch: expected 0\.\.3, each once, found"),
])
def test_images_of_parts(changes: Fields, text: str) -> None:
    """The first of four parts of a sum of maps."""
    at = number("residual", lambda f: f["gc.work"] == Work.FORWARD
                and f["pre.opcode"] == Opcode.VECTOR and not f["gv.a_table"] and f["gc.part"] == 0
                and f["gc.count"] == 1)
    refused("residual", at, changes, text)


def test_images_at_the_end_of_the_mini_batch() -> None:
    """The last part left out, and one image more than there are."""
    step = planned("residual")
    at = number("residual", lambda f: f["gc.work"] == Work.FORWARD
                and f["pre.opcode"] == Opcode.VECTOR and f["gc.first"] == 3)
    refused("residual", at, {"gc.count": 2}, r"images: expected some of 0\.\.3, found 3\.\.4")
    for one in ("gc.first", "gc.batch"):
        refused("residual", at, {one: step.fields[at][one] - 1}, "images")
    refused("residual", at, {"gc.work": int(Work.NONE)}, "images of the mini-batch|reads flags")


def test_images_in_the_middle_of_the_mini_batch() -> None:
    """A part of a gradient that is left out, between others."""
    at = number("residual", lambda f: f["gc.work"] == Work.NODE and f["gc.part"] == 1
                and f["gc.count"] == 1 and not f["gv.mask_a"] and not f["gv.mask_b"])
    refused("residual", at, {"gc.work": int(Work.NONE)},
            r"node of layer .*: images of the mini-batch: expected each of 0\.\.3 once, found "
            r"0\.\.0, 2\.\.2, 3\.\.3")


def moved(f: Fields, names: tuple[str, ...], more: int) -> Fields:
    return {name: f[name] + more for name in names}


def test_flags_are_those_of_the_forward_pass() -> None:
    """Masks of both units, argmax indices, and flags that are not written."""
    masked = number("residual", lambda f: f["pre.opcode"] == Opcode.VECTOR
                    and bool(f["gv.mask_a"] or f["gv.mask_b"]))
    conv = number("all kinds", lambda f: f["pre.opcode"] == Opcode.CONV and f["g.g_mode"] > 0)
    weights = number("all kinds", lambda f: f["pre.opcode"] == Opcode.GRADIENT
                     and f["g.g_mode"] > 0)
    pool = number("pools", lambda f: f["pre.opcode"] == Opcode.POOL and bool(f["gp.back"]))
    forward = number("pools", lambda f: f["pre.opcode"] == Opcode.POOL and not f["gp.back"])
    for name, at, field in (("residual", masked, "gv.m"), ("all kinds", conv, "g.g_flag"),
                            ("all kinds", weights, "g.g_flag"), ("pools", pool, "gp.argmax")):
        f = planned(name).fields[at]
        for more in (-1 << 10, 1 << 20):
            refused(name, at, {field: f[field] + more},
                    rf"descriptor {at} reads flags at .*: expected flags that the forward pass of "
                    r"one layer has written before, for images [0-9]+\.\.[0-9]+, found others")
    refused("pools", forward, {"gp.keep": 0}, rf"descriptor {pool} reads flags at")
    first = number("all kinds", lambda f: f["pre.opcode"] == Opcode.CONV
                   and f["g.g_pass"] == Pass.FORWARD and f["g.g_flags"] == 1)
    refused("all kinds", first, {"g.g_flags": 0}, "reads flags at")
    writer = number("residual", lambda f: f["pre.opcode"] == Opcode.VECTOR and bool(f["gv.flags"]))
    refused("residual", writer, {"gv.flags": 0}, "reads flags at")


@pytest.mark.parametrize("work", [Work.COEFFICIENTS, Work.GRADIENT_COEFFICIENTS])
def test_statistics_are_of_the_whole_mini_batch(work: Work) -> None:
    at = number("residual", of_work(work))
    f = planned("residual").fields[at]
    parts = f["gn.parts"]
    assert parts == 4
    for more in (-1, 1):
        refused("residual", at, {"gn.parts": parts + more}, rf"descriptor {at}: sums at .*: "
                rf"expected {parts + more} parts, all summed before, found {parts} descriptors")
    for field, key in (("gn.sums", "gv.sums"), ("gn.part_bytes", "gv.part_bytes"),
                       ("gn.blocks", "gv.blocks"), ("gn.pixels", "gv.pixels"),
                       ("gc.count", "gc.batch")):
        # The images of the step come first, then what the sums say.
        refused("residual", at, {field: f[field] + 8}, rf"descriptor {at}: (sums at .*: {key} of "
                r"descriptor [0-9]+: expected [0-9]+, found [0-9]+|images: expected some of)")
    summed = {Work.COEFFICIENTS: Work.STATISTICS,
              Work.GRADIENT_COEFFICIENTS: Work.GRADIENT_SUMS}[work]
    for part in (1, 3):
        one = number("residual", of_work(summed, gc__part=part, gc__layer=f["gc.layer"]))
        g = planned("residual").fields[one]
        for key in ("gv.sums", "gv.part_bytes", "gv.blocks", "gv.pixels", "gv.a", "gv.a_image"):
            refused("residual", one, {key: g[key] + 8},
                    rf"descriptor {at}: sums at .*: {key} of descriptor {one}: expected {g[key]}, "
                    rf"found {g[key] + 8}|descriptor {one} reads flags")
        refused("residual", one, {"gv.square": 1 - g["gv.square"]},
                rf"sums at .*: gv\.square of descriptor {one}")
        refused("residual", one, {"gc.part": part - 1},
                "sums at .*: expected each part once, found")
        refused("residual", one, {"gc.first": g["gc.first"] - 1},
                r"^descriptor [0-9]+: images of the mini-batch: expected each of 0\.\.3 once")
        refused("residual", one, {"gv.has_sums": 0}, "sums at .*: expected 4 parts, all summed")


def test_the_map_that_is_normalised_was_summed() -> None:
    at = number("residual", lambda f: f["pre.opcode"] == Opcode.VECTOR
                and f["gc.work"] == Work.FORWARD and bool(f["gv.a_table"]))
    f = planned("residual").fields[at]
    for field in ("gv.a", "gv.a_image"):
        refused("residual", at, {field: f[field] + 8},
                rf"descriptor {at}: the map that it normalises: expected .*, summed by descriptor")


@pytest.mark.parametrize(("work", "name"), [(Work.UPDATE_GAMMA, "gamma"),
                                            (Work.UPDATE_BIAS, "beta")])
def test_updates_of_a_normalisation(work: Work, name: str) -> None:
    layers = {f["gc.layer"] for f in planned("residual").fields if f["pre.opcode"] == Opcode.NORM}
    at = number("residual", lambda f: f["gc.work"] == work and f["gc.layer"] in layers)
    f = planned("residual").fields[at]
    for key in ("sums", "masters", "elements"):
        for more in (-4, 4):
            refused("residual", at, {f"gu.{key}": f[f"gu.{key}"] + more},
                    rf"descriptor {at}: {key} of {name}: expected ")


def test_updates_of_biases() -> None:
    """All of the layer, from its first word to its last."""
    at = number("all kinds", of_work(Work.UPDATE_BIAS))
    f = planned("all kinds").fields[at]
    for changes in (moved(f, ("gu.sums",), 8), moved(f, ("gu.sums",), -8),
                    moved(f, ("gu.elements",), -1), moved(f, ("gu.elements",), 1),
                    {"gu.sums": f["gu.sums"] + 8, "gu.elements": f["gu.elements"] - 1}):
        refused("all kinds", at, changes, rf"descriptor {at}: gradient sums: expected all of the "
                "layer, .* to .*, found .* to ")
    sums = number("all kinds", lambda g: g["pre.opcode"] == Opcode.GRADIENT
                  and g["gc.layer"] == f["gc.layer"])
    refused("all kinds", sums, {"g.g_bias": 0}, rf"descriptor {at}: gradient sums: expected all of "
            "the layer, none, found")


def test_descriptors_of_no_network_have_no_computation() -> None:
    step = planned("all kinds")
    none = {k: {"gc.work": 0, "gc.count": 0, "gc.entry": 0} for k in range(len(step.fields))}
    check_computations(step.program(none), labels(step))


@pytest.mark.parametrize("fits", [
    of_work(Work.UPDATE_BIAS),
    lambda f: f["pre.opcode"] == Opcode.CONV and f["g.g_mode"] > 0,
    lambda f: f["pre.opcode"] == Opcode.GRADIENT and f["g.g_mode"] > 0])
def test_a_pass_alone_needs_nothing_before_it(fits: Fits) -> None:
    """A program of one pass has no forward pass whose flags or sums could be checked."""
    step = planned("all kinds")
    only = number("all kinds", fits)
    none = {k: {"gc.work": 0} for k in range(len(step.fields)) if k != only}
    check_computations(step.program(none), labels(step))


@pytest.mark.parametrize("elements", [1, 2, 3])
def test_variances_of_few_elements(elements: int) -> None:
    """One element has no variance of its own: nothing is divided by 0."""
    graph = Graph.build((2, 1, elements), [Conv(4, 1, name="c"), BatchNorm(name="n"),
                                           Dense(3, name="d")])
    step = Scheduled.of(graph, 1)
    verify_program(step.program())
    number = next(k for k, f in enumerate(step.fields) if f["pre.opcode"] == Opcode.NORM
                  and not f["gn.back"])
    factor = step.fields[number]["n.n_var_m"] * 2.0 ** step.fields[number]["n.n_var_e"]
    assert factor == pytest.approx(elements / (elements - 1) if elements > 1 else 0)
    for change in (1, -1):
        with pytest.raises(IllegalProgram, match=rf"elements / \(elements - 1\) of {elements}"):
            verify_program(step.program({number: {
                "n.n_var_e": step.fields[number]["n.n_var_e"] + change}}))
