"""The processor of a PYNQ-Z2, emulated: golden, self-test, checkpoints and learner on 32-bit ARM.

``make test-arm`` prints how long each took here and there. Where the packages cannot be had, these
tests are skipped with the reason; ``PYNQ_TRAIN_REQUIRE_ARM=1`` makes that a failure.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sim.processor import Processor, Unavailable, prepare

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("same_bits.py")
UNIT_TESTS = (
    "tests/unit/fixed/test_functions.py", "tests/unit/backends/test_golden.py",
    "tests/unit/train/test_checkpoint.py", "tests/unit/train/test_learner.py",
)
"""Of exponential functions, golden, checkpoints and learner."""
_FROM_TREE = ("-p", "no:cacheprovider", "-o", "addopts=--strict-markers", "-q")

Run = Callable[[Sequence[str | Path]], str]


@contextmanager
def timed(where: str, say: Callable[[str], None]) -> Iterator[None]:
    """Say how long processes took, by the clock and of the processor."""
    def spent() -> tuple[float, float]:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter(), usage.ru_utime + usage.ru_stime

    start = spent()
    yield
    seconds, busy = (after - before for before, after in zip(start, spent()))
    say(f"{where} {seconds:.0f} s ({busy:.0f} of the processor)")


@pytest.fixture(scope="module")
def processor() -> Processor:
    """The emulated processor, unpacked."""
    try:
        return prepare()
    except Unavailable as error:
        if os.environ.get("PYNQ_TRAIN_REQUIRE_ARM") == "1":
            pytest.fail(f"{error}, but PYNQ_TRAIN_REQUIRE_ARM=1 asks for it", pytrace=False)
        pytest.skip(f"no 32-bit ARM: {error}")


@pytest.fixture
def arm(processor: Processor, say: Callable[[str], None]) -> Run:
    """Runs the emulated Python; what it prints."""
    def run(arguments: Sequence[str | Path]) -> str:
        with timed("ARM", say):
            done = processor.python(["-W", "ignore", *arguments], ROOT, path=[ROOT])
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    return run


@pytest.fixture
def here(say: Callable[[str], None]) -> Run:
    """Runs the Python of these tests; what it prints."""
    def run(arguments: Sequence[str | Path]) -> str:
        with timed("here", say):
            done = subprocess.run(
                [sys.executable, "-W", "ignore", *map(str, arguments)], cwd=ROOT, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    return run


@pytest.fixture
def say(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
        ) -> Iterator[Callable[[str], None]]:
    """Takes what is printed beside the test's name when it is over."""
    said: list[str] = []
    yield said.append
    with capsys.disabled():
        sys.stdout.write(f"\n{request.node.name}: {', '.join(said)}\n")


def last(text: str) -> dict[str, Any]:
    """The JSON of the last line."""
    found = json.loads(text.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_it_is_a_32_bit_arm_of_its_own(processor: Processor, arm: Run,
                                       say: Callable[[str], None]) -> None:
    """Pointers of 32 bits, packages of the folder, the tree's sources: nothing of this machine."""
    say(processor.versions())
    code = ("import json, platform, struct, sys, numpy, pynq_train; print(json.dumps("
            "[platform.machine(), struct.calcsize('P'), numpy.__file__, pynq_train.__file__]))")
    machine, pointer, numpy_file, own = json.loads(arm(["-c", code]).splitlines()[-1])
    assert machine.startswith("armv7") and pointer == 4
    assert Path(numpy_file).is_relative_to(processor.folder)
    assert Path(own) == ROOT / "pynq_train" / "__init__.py"


def test_golden_has_the_same_bits(arm: Run, here: Run, seed: int, tmp_path: Path) -> None:
    """Programs, cycles, masters, momentum, losses, logits, predictions of networks of all kinds."""
    # Of four neighbours two are chains, two have joins and normalisations.
    seeds = [str(seed + number) for number in range(4)]
    command: list[str | Path] = [SCRIPT, "results", tmp_path, "--seeds", *seeds]
    wanted = last(here(command))
    assert len(wanted) == 5 and all(len(one) == 6 for one in wanted.values())
    assert last(arm(command)) == wanted


def test_tables_of_curves_have_the_same_bits(arm: Run, here: Run, tmp_path: Path) -> None:
    """Activations of tables: what computes them rests on no function of this machine's library."""
    command: list[str | Path] = [SCRIPT, "curves", tmp_path]
    wanted = last(here(command))
    assert len(set(wanted.values())) == len(wanted) > 8
    assert last(arm(command)) == wanted


def test_a_checkpoint_moves_between_processors(arm: Run, here: Run, seed: int, tmp_path: Path
                                               ) -> None:
    """A learner that was saved on one goes on, on the other, as if it had never moved."""
    nets = ["--seeds", str(seed), str(seed + 2)]
    wanted = last(here([SCRIPT, "whole", tmp_path, *nets]))
    for first, second in ((here, arm), (arm, here)):
        for file in tmp_path.iterdir():
            file.unlink()
        half = last(first([SCRIPT, "first", tmp_path, *nets]))
        assert half.keys() == wanted.keys() and all(half[net] != wanted[net] for net in half)
        assert last(second([SCRIPT, "second", tmp_path, *nets])) == wanted


def test_the_self_test_passes(arm: Run, say: Callable[[str], None]) -> None:
    """What the package compares itself with stands in the package."""
    say(passed(arm(["-m", "pytest", *_FROM_TREE, "--pyargs", "pynq_train"]), least=15))


def test_unit_tests_pass(arm: Run, seed: int, say: Callable[[str], None]) -> None:
    """Golden against loops, damaged files, the learner against the float twin."""
    say(passed(arm(["-m", "pytest", *_FROM_TREE, "--seed", str(seed), *UNIT_TESTS]), least=100))


def passed(text: str, least: int) -> str:
    """The closing line of pytest.

    Raises:
        AssertionError: fewer tests passed, or one did not.
    """
    closing = text.strip().splitlines()[-1]
    found = re.match(r"(\d+) passed\b", closing)
    assert found and int(found[1]) >= least, closing
    return closing
