"""Kept simulators: everything that decides about one is in its name; half of one is never used."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sim.bfm import simulators
from sim.bfm.env import ROOT
from sim.bfm.simulators import Model


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model of two sources; nothing is compiled."""
    for name in ("a.sv", "b.sv"):
        (tmp_path / name).write_text(f"module {name[0]}; endmodule\n", encoding="utf-8")
    return Model("a", (tmp_path / "a.sv", tmp_path / "b.sv"))


@pytest.fixture(autouse=True)
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash needs no compiler."""
    monkeypatch.setattr(simulators, "tools", lambda: "versions")


def test_key_holds_every_part(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources, their order, parameters, arguments and tools; one change, another simulator."""
    def changed(**parts: object) -> str:
        return dataclasses.replace(model, **parts).key()

    keys = [model.key(), changed(top="b"), changed(sources=model.sources[::-1]),
            changed(sources=model.sources[:1]), changed(parameters=(("N", 1),)),
            changed(parameters=(("N", 2),)), changed(optimise=True), changed(waves=True),
            changed(visible=("b.x",))]
    model.sources[1].write_text("module b; endmodule \n", encoding="utf-8")
    keys.append(model.key())
    monkeypatch.setattr(simulators, "tools", lambda: "newer versions")
    keys.append(model.key())
    monkeypatch.setattr(simulators, "_VERILATOR_ARGS", ())
    keys.append(model.key())
    assert len(set(keys)) == len(keys)


def test_a_failed_build_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    """The folder appears when it is complete; the next attempt begins anew."""
    def half(folder: Path) -> None:
        (folder / "program").write_text("half", encoding="utf-8")
        raise RuntimeError("the compiler was killed")

    def whole(folder: Path) -> None:
        assert not list(folder.iterdir())
        (folder / "program").write_text("whole", encoding="utf-8")

    place = tmp_path / "cache" / "top-0123"
    with pytest.raises(RuntimeError, match="killed"):
        simulators.made(place, half)
    assert not place.exists()
    assert simulators.made(place, whole) == place
    assert (place / "program").read_text(encoding="utf-8") == "whole"
    simulators.made(place, half)  # it is there: nothing is made
    assert [path.name for path in place.parent.iterdir() if path.is_dir()] == ["top-0123"]


def test_a_killed_build_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    """The same when the process that builds is killed, and others wait for it."""
    code = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from sim.bfm.simulators import made

        def make(folder: Path) -> None:
            (folder / "program").write_text(sys.argv[2])
            print("builds", flush=True)
            time.sleep(float(sys.argv[3]))
        print((made(Path(sys.argv[1]), make) / "program").read_text())
    """)
    place = tmp_path / "top-0123"

    def start(text: str, seconds: float) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(place), text, str(seconds)], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})

    first = start("half", 600)
    assert first.stdout is not None and first.stdout.readline() == "builds\n"
    others = [start("whole", 0.1), start("whole", 0.1)]
    first.send_signal(signal.SIGKILL)
    first.wait()
    said = [other.communicate(timeout=120)[0] for other in others]
    assert sorted(said) == ["builds\nwhole\n", "whole\n"]


def test_a_design_that_does_not_compile_is_an_error(model: Model, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a failed bench: the end of the compiler's log is in the text."""
    monkeypatch.setattr(simulators, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(simulators, "_runtime", lambda *_: tmp_path)
    model.sources[0].write_text("module a; assign nothing; endmodule\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"a does not compile(.|\n)*syntax error"):
        simulators.simulator(model)
