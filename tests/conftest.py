"""Shared test settings: seed, order (fast tests first), what happens without some packages."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pynq_train.backends.vboard import build

ROOT = Path(__file__).resolve().parent.parent

DEFAULT_SEED = 20260
_ORDER = ("unit", "against_torch", "rtl", "formal", "system", "install", "synth")

_MARKS = {"rtl": "rtl", "formal": "rtl", "synth": "synth"}
"""Every test of a folder has its mark: no file can forget it."""

_PACKAGES = {"torch": "PyTorch", "keras": "Keras", "onnx": "ONNX", "onnxruntime": "ONNX Runtime"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=DEFAULT_SEED,
                     help="seed of random test data (printed in the header)")


def pytest_configure() -> None:
    # Tests that want files of failed runs say where.
    os.environ["PYNQ_TRAIN_FAILURES"] = ""


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--seed')} (repeat with --seed N)"


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def folder(item: pytest.Item) -> str:
        return item.path.relative_to(ROOT / "tests").parts[0]

    def rank(item: pytest.Item) -> int:
        return _ORDER.index(folder(item)) if folder(item) in _ORDER else len(_ORDER)

    for item in items:
        if folder(item) in _MARKS:
            item.add_marker(_MARKS[folder(item)])
    items.sort(key=rank)


def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = ["torch"] if item.get_closest_marker("oracle") else []
    for marker in item.iter_markers("needs"):
        wanted += marker.args
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        labels = ", ".join(_PACKAGES.get(name, name) for name in missing)
        reason = f"{labels} not installed (see what 'make setup' said)"
        if os.environ.get("PYNQ_TRAIN_REQUIRE_ORACLE") == "1":
            pytest.fail(reason + ", but PYNQ_TRAIN_REQUIRE_ORACLE=1 asks for it", pytrace=False)
        pytest.skip(reason)
    if item.get_closest_marker("board") and not os.path.exists(
        "/proc/device-tree/chosen/pynq_board"
    ):
        pytest.skip("this machine is not a PYNQ board")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Only tests that are marked ``rtl`` may have a simulator built: tiers rely on marks."""
    def refuse(*_: object, **__: object) -> Path:
        build.find_tools()  # a tool that a test takes away is missed as ever
        raise AssertionError(f"{item.nodeid} builds a simulator: expected the mark rtl")

    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("rtl") is None:
            patch.setattr(build, "build", refuse)
        yield


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run (option --seed)."""
    return int(request.config.getoption("--seed"))


@pytest.fixture(autouse=True)
def _torch_draws_the_same(seed: int) -> None:
    """PyTorch's own generator starts anew with every test: whichever test ran before it."""
    if "torch" in sys.modules:  # else it starts from its own constant
        sys.modules["torch"].manual_seed(seed)


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A fresh NumPy generator for random test data."""
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets that lie beside a development checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder ../shared/data")
    return folder
