"""The compiled cycle model: equal to its source to the cycle, and never in the way."""

from __future__ import annotations

import ast
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynq_train.check.random_nets import random_net
from pynq_train.cycles import Command, Engine, Model, compiled, model
from pynq_train.errors import PynqTrainError
from pynq_train.graph import Graph, Sequential, zoo
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.layers import fuse
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.schedule.plan import make_plan

PLAIN = Model(Engine, Command, "as it is")
CONFIGS = list({board.config.name: board for board in BOARDS.values()}.values())
"""A board for each configuration of the engine."""
MEMORIES = ({}, {"read_latency_cycles": 100, "outstanding_bursts": 2},
            {"outstanding_bursts": 1, "turn_quantum_cycles": 16},
            {"read_latency_cycles": 40, "turn_quantum_cycles": 200})

UNWANTED = f"{compiled.CHOICE}=0" if os.environ.get(compiled.CHOICE) == "0" else None
needs_tools = pytest.mark.skipif(
    UNWANTED is not None or isinstance(compiled.find_tools(), str),
    reason=f"nothing is compiled: {UNWANTED or compiled.find_tools()}")


@pytest.fixture(autouse=True)
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test say itself who does not want it."""
    monkeypatch.delenv(compiled.CHOICE, raising=False)


@pytest.fixture(scope="module")
def quick() -> Model:
    """The compiled model, which is built if the cache does not hold it."""
    found = model()
    assert found.plain is None, found.plain
    return found


def programs(graph: Graph, batch: int, board: Board) -> list[list[tuple[dict[str, int], Any]]]:
    """Fields and taps of training and evaluation."""
    plan = make_plan(fuse(graph), batch, board)
    return [[(fields, tuple(tap.weight for tap in one.tiled.shape.taps) if one.tiled else ())
             for one, fields in zip(image.descriptors, image.fields)]
            for image in (build_training(plan), build_evaluation(plan))]


def told(which: Model, program: list[tuple[dict[str, int], Any]], board: Board,
         memory: MemoryTiming) -> tuple[Any, ...]:
    """All that an engine tells of a program."""
    engine = which.engine([which.command(*one) for one in program], board.config, memory)
    cycles = engine.run()
    return (cycles, engine.clock.skipped, [port.beats for port in engine.ports],
            [(t.start, t.end, t.stamps, t.array, t.x_beats, t.waits.values())
             for t in engine.traces])


def different(quick: Model, graph: Graph, batch: int, board: Board, changes: dict[str, int]
              ) -> list[str]:
    """Which programs of a network the two models predict differently."""
    memory = replace(MemoryTiming(board.dram_bytes_per_cycle), **changes)
    return [name for name, program in zip(("train", "evaluate"), programs(graph, batch, board))
            if told(quick, program, board, memory) != told(PLAIN, program, board, memory)]


@needs_tools
@pytest.mark.medium
@pytest.mark.parametrize("seed", range(200, 212))
def test_random_networks_take_the_same_cycles(quick: Model, seed: int) -> None:
    net, board = random_net(seed), CONFIGS[seed % len(CONFIGS)]
    assert not different(quick, net.graph, net.batch, board, MEMORIES[seed // 4 % 4])


@needs_tools
@pytest.mark.medium
@pytest.mark.parametrize("board", CONFIGS, ids=lambda board: board.config.name)
def test_a_network_takes_the_same_cycles_on_every_configuration(quick: Model, board: Board) -> None:
    assert not different(quick, zoo.get("lenet5"), 3, board, {})


@needs_tools
@pytest.mark.medium
@pytest.mark.parametrize(("name", "batch"), [("digits", 16), ("1x", 2), ("ds_cnn_s", 1)])
def test_networks_of_the_zoo_take_the_same_cycles(quick: Model, name: str, batch: int) -> None:
    assert not different(quick, zoo.get(name), batch, BOARDS["pynq-z2"], {})


@needs_tools
@pytest.mark.medium
@pytest.mark.parametrize("constant", [
    "vector.QUEUE_CYCLES", "ports.RUN_CYCLES", "compute.RELEASE_CYCLES", "dram._READ_IDLE",
    "scalar.ASK_CYCLES", "store.POST_CYCLES", "load.LOOK_CYCLES", "address_generator.ISSUE_CYCLES"])
def test_a_delay_that_differs_is_seen(quick: Model, constant: str, monkeypatch: pytest.MonkeyPatch
                                      ) -> None:
    board = BOARDS["pynq-z2"]
    graph = Sequential((4, 12, 12)).conv(8, 3, padding=1).norm().relu().dense(4).build()
    assert not different(quick, graph, 2, board, {})
    monkeypatch.setattr(f"pynq_train.cycles.{constant}", 9)
    assert "train" in different(quick, graph, 2, board, {})


@needs_tools
@pytest.mark.medium
def test_a_program_that_never_ends_is_named(quick: Model) -> None:
    board = BOARDS["pynq-z2"]
    program = programs(zoo.get("digits"), 2, board)[0]
    program[0] = {**program[0][0], "pre.wait_x": 99}, program[0][1]
    for which in (quick, PLAIN):
        with pytest.raises(RuntimeError, match="waits for a signal that no earlier descriptor"):
            told(which, program, board, MemoryTiming(board.dram_bytes_per_cycle))


# -- what decides about the library --------------------------------------------------------------

def imported(path: Path) -> list[str]:
    """Modules of this package that a file imports, in order."""
    return [node.module for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pynq_train")
            and node.module is not None]


def test_modules_import_those_before_them() -> None:
    folder = Path(compiled.__file__).parent
    rest = {"__init__", "__main__", "compiled"}
    assert {path.stem for path in folder.glob("*.py")} - rest == set(compiled.MODULES)
    sources = {path.resolve() for path in compiled.sources()}
    for index, name in enumerate(compiled.MODULES):
        for module in imported(folder / f"{name}.py"):
            file = folder.parents[1].joinpath(*module.split(".")).with_suffix(".py")
            assert file in sources, f"{name} reads {module}, the key does not"
            if module.startswith(compiled.OWN):
                assert file.stem in compiled.MODULES[:index], f"{name} needs {module} before it"


def test_every_source_decides_about_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                            ) -> None:
    tools = compiled.Tools("gcc", "one")
    found = compiled.sources()
    own = compiled.cache_key(tools)
    assert own == compiled.cache_key(tools) != compiled.cache_key(compiled.Tools("gcc", "two"))
    keys = {own}
    for index, path in enumerate(found):
        changed = tmp_path / f"{index}.py"
        changed.write_bytes(path.read_bytes() + b" ")
        monkeypatch.setattr(compiled, "sources",
                            lambda at=index, file=changed: [*found[:at], file, *found[at + 1:]])
        keys.add(compiled.cache_key(tools))
    assert len(keys) == len(found) + 1


# -- where it cannot be compiled -----------------------------------------------------------------

@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> list[compiled.Library]:
    """Stands in for a build that fails; the libraries that were asked for."""
    asked: list[compiled.Library] = []

    def fail(library: compiled.Library, work: Path) -> Path:
        asked.append(library)
        raise PynqTrainError("no")

    monkeypatch.setattr(compiled, "build", fail)
    monkeypatch.setattr(compiled, "find_tools", lambda: compiled.Tools("cc", "a compiler"))
    return asked


def test_a_missing_compiler_is_told_of_where_it_matters(monkeypatch: pytest.MonkeyPatch,
                                                        tmp_path: Path) -> None:
    pytest.importorskip("mypyc")
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    said: list[str] = []
    few = model(compiled.WORTH - 1, said.append, tmp_path)
    assert not said and few.engine is Engine and few.plain is not None
    assert model(compiled.WORTH, said.append, tmp_path).engine is Engine
    assert len(said) == 1 and "predictions take longer: expected a C compiler" in said[0]
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    found = model()
    assert found.engine is Engine and "pip install 'pynq-train[fast]'" in str(found.plain)


def test_without_headers_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path
                                             ) -> None:
    pytest.importorskip("mypyc")
    monkeypatch.setattr(compiled.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert shutil.which("gcc") is None or "expected Python.h" in str(model().plain)


def test_small_programs_build_nothing(build: list[compiled.Library], tmp_path: Path) -> None:
    assert model(compiled.WORTH - 1, folder=tmp_path).engine is Engine
    assert not build and not list(tmp_path.iterdir())


def test_whoever_does_not_want_it(build: list[compiled.Library], tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNQ_TRAIN_COMPILED", "0")
    assert model(folder=tmp_path).plain == "PYNQ_TRAIN_COMPILED=0" and not build


def test_a_failure_is_a_warning(build: list[compiled.Library], tmp_path: Path,
                                caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert model(folder=tmp_path).engine is Engine
    assert len(build) == 1, "once per process"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "predictions take longer: no" in caplog.text
    assert [path.suffix for path in (tmp_path / "cycles").iterdir()] == [".lock"]


def test_a_folder_of_others_is_not_used(build: list[compiled.Library], tmp_path: Path) -> None:
    (tmp_path / "cycles").mkdir()
    (tmp_path / "cycles").chmod(0o777)
    found = model(folder=tmp_path)
    assert found.engine is Engine and "a folder that you alone may write to" in str(found.plain)
    assert not build


def test_a_tool_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_TO_C", "import sys; sys.exit('a type is wrong')")
    said: list[str] = []
    library = compiled.Library.of(compiled.Tools("cc", ""), tmp_path, said.append)
    with pytest.raises(PynqTrainError, match=r"(?s)could not build the cycle model: expected exit "
                       "code 0, found 1.*a type is wrong"):
        compiled.build(library, tmp_path)
    assert said == ["compiling the cycle model (once per version, about half a minute)"]


@needs_tools
@pytest.mark.medium
@pytest.mark.parametrize("damage", [
    lambda file: file.write_bytes(file.read_bytes()[:-1]), lambda file: file.write_bytes(b""),
    lambda file: file.chmod(0o666), lambda file: file.with_suffix(".sha256").unlink()])
def test_a_damaged_library_is_built_again(quick: Model, damage: Callable[[Path], object],
                                          tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = compiled.find_tools()
    assert isinstance(tools, compiled.Tools)
    whole = compiled.Library.of(tools, compiled.cache_dir(), print).path
    there = compiled.Library.of(tools, tmp_path, print).path
    there.parent.mkdir()
    for file in (whole, whole.with_suffix(".sha256")):
        shutil.copyfile(file, there.with_name(file.name))
    built: list[Path] = []

    def again(library: compiled.Library, work: Path) -> Path:
        built.append(library.path)
        return Path(shutil.copyfile(whole, work / "again.so"))

    monkeypatch.setattr(compiled, "build", again)
    monkeypatch.setattr(compiled, "load", lambda path, name: quick)
    damage(there)
    assert model(folder=tmp_path) is quick and built == [there]
    assert there.read_bytes() == whole.read_bytes()


def test_what_is_no_library_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def text(library: compiled.Library, work: Path) -> Path:
        (work / "text.so").write_text("no library")
        return work / "text.so"

    monkeypatch.setattr(compiled, "build", text)
    monkeypatch.setattr(compiled, "find_tools", lambda: compiled.Tools("cc", "text"))
    found = model(folder=tmp_path)
    assert found.engine is Engine and ".so" in str(found.plain)
