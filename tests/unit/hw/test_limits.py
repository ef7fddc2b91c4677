"""Limits in Python against those that the RTL checks when it is elaborated, and against fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pynq_train.hw import limits, words
from pynq_train.hw.commands import CONV_PARAM_FIELDS, SECTIONS, VECTOR_PARAM_FIELDS
from pynq_train.hw.config import CONFIGS, FETCH_AHEAD, FETCH_REST_CYCLES, ZYNQ7020, HwConfig
from pynq_train.hw.pool import ARGMAX_PIXELS, POOL_FIELDS

RTL = Path(__file__).resolve().parents[3] / "rtl"
CONSTANTS = {name: int(value) for name, value in re.findall(
    r"localparam int unsigned (\w+) = (\d+);",
    (RTL / "gen/pt_abi_pkg.sv").read_text(encoding="utf-8"))}
CHECK = re.compile(r'if \(([^;]*?)\) begin : \w+\s*\$fatal\(1, "(\w+):')
WORD_BITS = 8 * words.WORD_BYTES


def log2(value: int) -> int:
    """``$clog2`` of a positive value."""
    return (value - 1).bit_length()


def rtl_accepts(text: str, module: str, values: dict[str, int]) -> bool:
    """Whether no check of a module refuses parameters; checks of other parameters do not count.

    Raises:
        AssertionError: no check of the module reads all of ``values`` and nothing else.
    """
    used, good = set(), True
    for condition, owner in CHECK.findall(text):
        condition = re.sub(
            r"pt_abi_pkg::(\w+)", lambda m: m[1] if m[1] in values else str(CONSTANTS[m[1]]),
            condition.replace("pt_spec_pkg::", ""))
        names = set(re.findall(r"(?<![\w$])[A-Za-z_]\w*", condition))
        if owner != module or not names or not names <= values.keys():
            continue
        used |= names
        python = " ".join(condition.split()).replace("$clog2", "log2")
        python = python.replace("||", "or").replace("&&", "and")
        good &= not eval(python, {"log2": log2}, dict(values))
    assert used == values.keys(), f"{module}: no check of {sorted(values.keys() - used)}"
    return good


Parameters = Callable[[int], dict[str, int]]
# By key of a configuration: the modules that check it, and what parameters a value gives them.
CHECKED: dict[str, tuple[tuple[str, Parameters], ...]] = {
    "x_bank_words": (("compute/pt_pixtab", lambda v: {"QW": log2(v)}),),
    "s_ring_words": (("compute/pt_sset", lambda v: {"Depth": v}),),
    "acc_groups": (("compute/pt_array", lambda v: {"Depth": v}),
                   ("store/pt_drain", lambda v: {"GroupW": log2(v) - 1, "StageW": 12})),
    "stage_words": (("store/pt_drain", lambda v: {"GroupW": 8, "StageW": log2(v) - 1}),
                    ("store/pt_store_writer", lambda v: {"AddrW": log2(v) - 1}),
                    ("store/pt_stage", lambda v: {"Words": v})),
    "flag_words": (("store/pt_store_writer", lambda v: {"AddrW": log2(v) - 1}),
                   ("store/pt_stage", lambda v: {"Words": v})),
    "grad_words": (("store/pt_grad_queue", lambda v: {"Sums": v, "Blocks": ZYNQ7020.m_blocks}),),
    "pool_columns": (("store/pt_pool", lambda v: {"Columns": v}),),
    "line_columns": (("vector/pt_pool_scan", lambda v: {"Columns": v}),
                     ("vector/pt_pool_core", lambda v: {"Columns": v})),
    "max_taps": (("ctrl/pt_sequencer", lambda v: {"MaxTaps": v}),),
    "sweep_min_cycles": (("compute/pt_issue", lambda v: {"SweepMin": v}),),
}
# How the parents derive those parameters: the lambdas above hold as long as this stands there.
DERIVED = {
    "pt_conv.sv": (".XBankWords(pt_spec_pkg::XBankWords)", ".SRingWords(pt_spec_pkg::SRingWords)",
                   ".Groups(pt_spec_pkg::AccGroups)", ".StageWords(pt_spec_pkg::StageWords)",
                   ".FlagWords(pt_spec_pkg::FlagWords)", ".PoolColumns(pt_spec_pkg::PoolColumns)",
                   ".SweepMin(pt_spec_pkg::SweepMinCycles)",
                   "#(.Sums(pt_spec_pkg::GradWords)"),
    "compute/pt_compute.sv": ("QW = $clog2(XBankWords);", "#(.Depth(SRingWords), ",
                              ".Depth(Groups))"),
    "store/pt_store.sv": ("StageW = $clog2(StageWords) - 1;", "FlagW = $clog2(FlagWords) - 1;",
                          ".GroupW($clog2(Groups) - 1), .StageW(StageW)", "#(.Columns(PoolColumns)",
                          ".AddrW(StageW)", ".AddrW(FlagW)", "#(.Words(StageWords))",
                          "#(.Words(FlagWords))"),
    "vector/pt_pool_pass.sv": ("Columns = pt_spec_pkg::LineColumns;",),
    "pt_core.sv": (".MaxTaps(pt_spec_pkg::MaxTaps)",),
}


def source(module: str) -> str:
    return (RTL / f"{module}.sv").read_text(encoding="utf-8")


def python_accepts(key: str, value: int) -> bool:
    try:
        replace(ZYNQ7020, **{key: value})
    except ValueError:
        return False
    return True


def values_of(key: str) -> list[int]:
    """Values that nothing but the limits of ``key`` can refuse."""
    if key in ("max_taps", "sweep_min_cycles"):
        return list(range(200))
    return [1 << bits for bits in range(4, 22)]  # configurations take powers of two from 16 on


def different(key: str, texts: Callable[[str], str]) -> list[int]:
    """Values that Python takes and the RTL refuses, or the other way round."""
    return [value for value in values_of(key) if python_accepts(key, value) != all(
        rtl_accepts(texts(module), module.split("/")[1], parameters(value))
        for module, parameters in CHECKED[key])]


@pytest.mark.parametrize("key", CHECKED)
def test_a_configuration_takes_what_the_rtl_takes(key: str) -> None:
    assert different(key, source) == []


@pytest.mark.parametrize(("key", "old", "new"), [
    ("s_ring_words", "Depth > pt_abi_pkg::SRingWordsMost", "Depth > 4096"),
    ("acc_groups", "GroupW < $clog2(pt_abi_pkg::AccGroupsLeast) - 1", "GroupW < 5"),
    ("stage_words", "AddrW > $clog2(pt_abi_pkg::StageWordsMost) - 1", "AddrW > 14"),
    ("max_taps", "MaxTaps > pt_abi_pkg::MaxTapsMost", "MaxTaps > 127"),
    ("grad_words", "pt_abi_pkg::GradWordsPerLane * 4 * Blocks", "32 * Blocks"),
])
def test_a_drifted_limit_is_found(key: str, old: str, new: str) -> None:
    assert any(old in source(module) for module, _ in CHECKED[key])
    assert different(key, lambda module: source(module).replace(old, new))


def test_every_range_of_a_configuration_is_checked() -> None:
    def ranges(key: str) -> bool:
        return any(not python_accepts(key, value) for value in values_of(key))

    keys = [key for key, value in vars(ZYNQ7020).items() if isinstance(value, int)]
    fixed = {"tm", "tr", "tp", "acc_bits", "ports", "slots"}
    assert {key for key in keys if ranges(key)} - fixed == CHECKED.keys()


@pytest.mark.parametrize("name", DERIVED)
def test_parameters_are_derived_as_assumed(name: str) -> None:
    text = (RTL / name).read_text(encoding="utf-8")
    assert [part for part in DERIVED[name] if part not in text] == []


# ---- limits of the units -------------------------------------------------------------------------
def test_limits_that_the_rtl_checks() -> None:
    assert rtl_accepts(source("load/pt_load_data"), "pt_load_data",
                       {"FlagW": log2(limits.FLAG_ROW_WORDS)})
    assert rtl_accepts(source("ctrl/pt_sequencer"), "pt_sequencer", {
        "FetchAhead": FETCH_AHEAD, "FetchRestCycles": FETCH_REST_CYCLES, "Slots": ZYNQ7020.slots})
    assert limits.RING_MARGIN < 64, "the shortest S ring"


@pytest.mark.parametrize(("module", "text"), [
    ("axi/pt_axi_rd", f"parameter int unsigned Depth = {limits.READ_QUEUE_WORDS},"),
    ("update/pt_update", f"parameter int unsigned FifoDepth = {limits.UPDATE_QUEUE_WORDS}\n"),
    ("vector/pt_vector", f"pt_vector_in #(.Depth({limits.MAP_QUEUE_WORDS})) u_a ("),
])
def test_queues_are_as_deep_as_in_the_rtl(module: str, text: str) -> None:
    assert text in source(module)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_has_room_for_the_limits(config: HwConfig) -> None:
    assert config.max_taps >= limits.MAX_KERNEL**2
    assert config.tr == words.CHANNELS_PER_WORD == words.SET_PIXELS
    assert config.tp == words.LANES
    assert 1 << config.acc_bits - 1 > limits.MAX_PRODUCTS * 32767**2


def test_fields_hold_the_limits() -> None:
    bits = {f"{name}.{place.name}": place.field.bits for name, section in SECTIONS.items()
            for place in section.places}
    assert 1 << bits["g.g_kernel"] > limits.MAX_KERNEL
    assert 1 << bits["g.g_stride"] > limits.MAX_STRIDE
    for name, most in (("g.g_kernel", limits.MAX_KERNEL), ("g.g_stride", limits.MAX_STRIDE),
                       ("gp.kernel", limits.MAX_POOL_KERNEL),
                       ("gp.stride", limits.MAX_POOL_STRIDE)):
        assert 1 << bits[f"{name}_wider"] - 1 >= most, "differences have a sign"
    assert (1 << bits["x.c0"] - 1) - 1 == limits.MAX_COORDINATE, "coordinates have a sign"
    assert 1 << bits["x.lim0"] > limits.MAX_COORDINATE
    assert (1 << bits["g.g_n"]) - 1 == limits.MAX_FEATURES
    pool = {field.name: field.bits for field in POOL_FIELDS}
    for axis in ("", "_cols"):
        assert 1 << pool[f"p_kernel{axis}"] > limits.MAX_POOL_KERNEL
        assert 1 << pool[f"p_stride{axis}"] > limits.MAX_POOL_STRIDE
    for fields in (CONV_PARAM_FIELDS, VECTOR_PARAM_FIELDS):
        (limit,) = (field for field in fields if field.name == "limit")
        assert limits.NO_LIMIT == (1 << limit.bits) - 1 > 32767


def test_flags_and_argmax_indices_fill_words() -> None:
    channels = words.CHANNELS_PER_WORD
    assert words.FLAG_MASK_PIXELS * channels == WORD_BITS, "a bit per channel"
    # Bit and place in the 2x2 window: 3 bits per channel, 16 bits per pixel.
    assert words.FLAG_POOL_PIXELS * 16 == ARGMAX_PIXELS * 16 == WORD_BITS
    assert limits.FLAG_TILE_COLUMNS % words.FLAG_MASK_PIXELS == 0
    assert limits.FLAG_TILE_COLUMNS % words.FLAG_UNPOOL_COLUMNS == 0
    assert channels * 2 == words.WORD_BYTES, "16-bit channels"
