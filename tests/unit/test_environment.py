"""What the Makefile says when the machine lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "sh", "grep", "sed", "cat", "touch", "env", "make", "perl", "g++", "echo")


def run_setup(tmp_path: Path, without: str, python: str = "") -> subprocess.CompletedProcess[str]:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        where = shutil.which(name)
        if where and name != without:
            (tools / name).symlink_to(os.path.realpath(where))
    if python:
        (tools / "python3").write_text(python)
        (tools / "python3").chmod(0o755)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return subprocess.run([shutil.which("make") or "make", "demo"], cwd=tmp_path, text=True,
                          env={"PATH": str(tools)}, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("tool", ["g++", "perl"])
def test_missing_tool_is_named(tmp_path: Path, tool: str) -> None:
    result = run_setup(tmp_path, without=tool)
    assert result.returncode != 0
    assert f"setup: {tool} was not found; install it" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_python_is_one_sentence(tmp_path: Path) -> None:
    result = run_setup(tmp_path, without="")
    assert result.returncode != 0
    assert "expected Python 3.10, 3.11 or 3.12, found none; install one of them" in result.stderr


def test_too_new_python_is_named(tmp_path: Path) -> None:
    fake = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.14.0 && exit 0\nexit 1\n'
    result = run_setup(tmp_path, without="", python=fake)
    assert result.returncode != 0
    assert "found Python 3.14.0" in result.stderr


def test_help_lists_every_target() -> None:
    result = subprocess.run(["make", "help"], cwd=ROOT, text=True, capture_output=True, check=True)
    for target in ("setup", "demo", "test", "test-all", "lint", "gen", "synth", "fuzz", "clean"):
        assert f"make {target} " in result.stdout
