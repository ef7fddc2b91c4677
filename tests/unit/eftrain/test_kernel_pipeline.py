"""The EF-Train kernel in hardware's order: late writes of the array, rounds as dataflow."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import SMALL, draw, errors

from pynq_train.eftrain import EfPass
from pynq_train.eftrain.csim import Kernel, build, default_source

ROUNDING = 2e-5
"""Float32: up to 300 products of at most 1/4."""
PADDING = "inner < AddDistance ? AddDistance : inner"


def add_distance() -> int:
    """``AddDistance`` of the sources."""
    text = (default_source() / "ef_config.hpp").read_text(encoding="utf-8")
    (found,) = re.findall(r"const int AddDistance = (\d+);", text)
    return int(found)


def late_kernel(folder: Path, delay: int, old: str = "", new: str = "") -> Kernel:
    """The kernel whose sums can be read ``delay`` steps after they are written, not before.

    ``old`` in the array becomes ``new``.
    """
    copy = folder / "src"
    shutil.copytree(default_source(), copy)
    array = copy / "ef_array.hpp"
    text = array.read_text(encoding="utf-8")
    if old:
        assert text.count(old) == 1
        array.write_text(text.replace(old, new), encoding="utf-8")
    config = copy / "ef_config.hpp"
    config.write_text(f"#define EF_WRITE_DELAY {delay}\n" + config.read_text(encoding="utf-8"),
                      encoding="utf-8")
    return Kernel(SMALL, library=build(SMALL, copy, folder))


def worst(kernel: Kernel, rng: np.random.Generator, cases: int) -> dict[EfPass, float]:
    """The largest error of each pass on random layers."""
    found = dict.fromkeys(EfPass, 0.0)
    for _ in range(cases):
        for kind, error in errors(kernel, draw(rng), rng).items():
            found[kind] = max(found[kind], error)
    return found


@pytest.mark.medium
def test_no_sum_is_read_before_it_is_written(tmp_path: Path, rng: np.random.Generator) -> None:
    kernel = late_kernel(tmp_path, add_distance())
    assert max(worst(kernel, rng, 100).values()) <= ROUNDING


@pytest.mark.medium
@pytest.mark.parametrize("what", ["short loops do not wait", "the adder is slower"])
def test_sums_that_come_back_too_early_are_wrong(what: str, tmp_path: Path,
                                                 rng: np.random.Generator) -> None:
    """Invisible to C, which is why the writes are late here."""
    distance = add_distance()
    kernel = (late_kernel(tmp_path, distance, PADDING, "inner") if what.startswith("short") else
              late_kernel(tmp_path, distance + 1))
    assert min(worst(kernel, rng, 60).values()) > 1e-2


def test_the_pragmas_tell_the_true_distance() -> None:
    text = (default_source() / "ef_array.hpp").read_text(encoding="utf-8")
    pragmas = re.findall(r"#pragma HLS DEPENDENCE (.*)", text)
    assert sorted(pragmas) == [
        f"variable={name} type=inter direction=RAW distance={add_distance()} dependent=true"
        for name in ("bias", "ofm", "wei")]


def test_a_round_is_a_dataflow_of_calls_that_share_nothing() -> None:
    """What Vitis HLS asks of such a region: no conditions, one process per buffer and port."""
    text = (default_source() / "ef_round.hpp").read_text(encoding="utf-8")
    head, body = re.findall(r"inline void run_round\((.*?)\) \{\n(.*?)\n\}", text, re.DOTALL)[0]
    lines = [line for line in body.splitlines() if not line.startswith("#pragma")]
    assert "#pragma HLS DATAFLOW" in body.splitlines()
    calls = re.findall(r"\s*(\w+)\(([^()]*)\);", "\n".join(lines))
    assert re.sub(r"\s*\w+\([^()]*\);", "", "\n".join(lines)).strip() == "", "calls only"
    assert [name for name, _ in calls] == ["compute", "next_input", "next_weights", "other_output"]
    memories = re.findall(r"(\w+)(?:\[Lanes\])?(?:,|$)", head.split("const Round& t,", 1)[1])
    assert len(memories) == 11
    for memory in memories:
        users = [name for name, arguments in calls if re.search(rf"\b(?<!\.){memory}\b", arguments)]
        assert len(users) == 1, f"{memory}: {users}"
