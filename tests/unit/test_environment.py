"""What the Makefile and its scripts choose, and what they say when the machine lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "sh", "grep", "sed", "cat", "touch", "env", "make", "perl", "g++", "echo", "rm")
WORKS, OTHER_VERSION, NO_VENV, SHIM = 0, 3, 4, 127


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class Machine:
    """A folder with the Makefile and a PATH that holds only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in TOOLS:
            where = shutil.which(name)
            if where:
                (self.bin / name).symlink_to(os.path.realpath(where))
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)
        shutil.copytree(ROOT / "scripts", folder / "scripts")

    def python(self, name: str, version: str, code: int, folder: Path | None = None) -> Path:
        """Add a Python that answers ``scripts/pythons.sh`` with a version and an exit code."""
        path = (folder or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\n[ {code} = {SHIM} ] || echo "{version}"\nexit {code}\n')
        path.chmod(0o755)
        return path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder."""
        program = shutil.which(command[0]) or command[0]
        return subprocess.run([program, *command[1:]], cwd=self.folder, text=True, timeout=60,
                              env={"PATH": str(self.bin), "PYENV_ROOT": str(self.folder / "pyenv")},
                              capture_output=True, check=False)

    def chosen(self, *options: str) -> str:
        """What ``scripts/pythons.sh`` prints: a path, or the sentence that it fails with."""
        done = self.run("bash", "scripts/pythons.sh", *options)
        assert (done.returncode == 0) == (not done.stderr)
        return (done.stdout or done.stderr).strip()


@pytest.mark.parametrize("tool", ["g++", "perl"])
def test_missing_tool_is_named(machine: Machine, tool: str) -> None:
    (machine.bin / tool).unlink()
    result = machine.run("make", "demo")
    assert result.returncode != 0
    assert f"setup: {tool} was not found; install it" in result.stderr
    assert not (machine.folder / ".venv").exists()


def test_no_python_is_one_sentence(machine: Machine) -> None:
    result = machine.run("make", "demo")
    assert result.returncode != 0
    assert "setup: expected Python 3.10 to 3.14, found none; install one of them" in result.stderr
    assert not (machine.folder / ".venv").exists()


def test_the_python_that_was_asked_for_is_the_one_that_is_named(machine: Machine) -> None:
    machine.python("python3", "3.11.7", WORKS)
    machine.python("python3.9", "3.9.18", OTHER_VERSION)
    machine.python("python3.12", "3.12.1", NO_VENV)
    for name, text in (
        ("python3.9", "expected Python 3.10 to 3.14, found Python 3.9.18 (PYTHON=python3.9)"),
        ("python3.12", "Python 3.12.1 (PYTHON=python3.12) has no venv module; install it (on "
                       "Debian and Ubuntu: apt-get install python3.12-venv)"),
        ("python3.13", "expected Python 3.10 to 3.14, found none that starts as "
                       "PYTHON=python3.13"),
    ):
        result = machine.run("make", "demo", f"PYTHON={name}")
        assert result.returncode != 0 and text in result.stderr
    assert machine.chosen("python3") == str(machine.bin / "python3")


@pytest.mark.parametrize(("installed", "wanted"), [
    (("python3.10", "python3.13", "python3.11"), "python3.13"),
    (("python3.14", "python3.10"), "python3.10"),  # which nobody has tried yet
    (("python3.14", "python3"), "python3.14"),
    (("python3",), "python3"),
])
def test_the_newest_that_works_is_chosen(machine: Machine, installed: Sequence[str],
                                         wanted: str) -> None:
    for name in installed:
        machine.python(name, "3.x", WORKS)
    assert machine.chosen() == str(machine.bin / wanted)


def test_what_does_not_work_is_passed_over_and_named_in_the_end(machine: Machine) -> None:
    machine.python("python3.13", "", SHIM)
    machine.python("python3", "3.15.0", OTHER_VERSION)
    assert "found python3 (Python 3.15.0); install one of them" in machine.chosen()
    bare = machine.python("python3.12", "3.12.1", NO_VENV)
    assert "setup: python3.12 (Python 3.12.1) has no venv module" in machine.chosen()
    machine.python("python3.11", "3.11.7", WORKS)
    assert machine.chosen() == str(bare.with_name("python3.11"))


def test_a_version_of_pyenv_is_found_behind_its_shim(machine: Machine) -> None:
    machine.python("python3.13", "", SHIM)
    machine.python("python3.11", "3.11.7", WORKS)
    inside = machine.python("python3.13", "3.13.0", WORKS,
                            machine.folder / "pyenv" / "versions" / "3.13.0" / "bin")
    assert machine.chosen("python3.13") == str(inside)
    assert machine.chosen() == str(machine.bin / "python3.11")  # what the PATH offers
    assert machine.chosen("--all").splitlines() == [
        f"3.11 {machine.bin / 'python3.11'}", f"3.13 {inside}"]


def test_ci_lean_says_that_one_python_is_not_enough(machine: Machine) -> None:
    path = machine.python("python3.12", "3.12.1", WORKS)
    result = machine.run("make", "ci-lean")
    assert result.returncode == 0 and result.stdout.strip() == (
        f"ci-lean: skipped, it needs two versions of Python, found 3.12 {path}")


def install_torch(machine: Machine, *options: str, fails: bool) -> tuple[str, list[str]]:
    """Run ``scripts/torch.sh`` with a Python that writes down how pip was called."""
    calls = machine.folder / "calls"
    calls.write_text("")
    python = machine.bin / "python"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.13.0 && exit 0\n'
                      f'echo "$@" >> "{calls}"\nexit {int(fails)}\n')
    python.chmod(0o755)
    done = machine.run("bash", "scripts/torch.sh", options[0], str(python), "mark", *options[1:])
    assert done.returncode == 0 and (machine.folder / "mark").exists() == fails
    return done.stdout, calls.read_text().splitlines()


def test_no_cuda_build_of_torch_unless_asked_for(machine: Machine) -> None:
    said, calls = install_torch(machine, "cpu", fails=True)
    assert len(calls) == 2 and all("-c scripts/no-cuda.txt" in call for call in calls)
    assert "--extra-index-url" not in calls[0] and "pytorch.org/whl/cpu" in calls[1]
    assert "no torch, tests with it and with keras will be skipped:" in said
    assert "pip could install no cpu build for Python 3.13.0" in said
    assert "'make torch TORCH=cuda' installs" in said
    said, calls = install_torch(machine, "cpu", "--find-links", "wheels", fails=False)
    assert not said and len(calls) == 1 and "--find-links wheels" in calls[0]
    said, calls = install_torch(machine, "cuda", fails=False)
    assert not said and "no-cuda" not in calls[0]
    wrong = machine.run("bash", "scripts/torch.sh", "gpu", "python", "mark")
    assert wrong.returncode == 1
    assert wrong.stderr == "setup: expected TORCH=cpu or TORCH=cuda, found TORCH=gpu\n"


def test_help_lists_every_target() -> None:
    result = subprocess.run(["make", "help"], cwd=ROOT, text=True, capture_output=True, check=True)
    for target in ("setup", "demo", "test", "test-all", "lint", "gen", "synth", "fuzz", "torch",
                   "ci-lean", "clean"):
        assert f"make {target} " in result.stdout
