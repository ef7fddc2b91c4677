"""What fleets need installs on a board without a compiler: wheels for its processor and Python."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.medium

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.10"
PLATFORMS = {
    # The images have glibc 2.35 (Ubuntu 22.04); pip takes any wheel for an older one.
    machine: tuple(f"manylinux_2_{minor}_{machine}" for minor in range(17, 36))
    + (f"manylinux2014_{machine}", f"linux_{machine}")
    for machine in ("armv7l", "aarch64")}


def extra(name: str) -> list[str]:
    """Requirements of an extra of the package."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf"^{name} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return re.findall(r'"([^"]+)"', found.group(1))


def resolve(requirements: list[str], machine: str | None, target: Path) -> dict[str, str] | None:
    """File names of the wheels that pip would install, by package; None if there are none."""
    tags = [] if machine is None else [
        *(word for tag in PLATFORMS[machine] for word in ("--platform", tag)),
        "--python-version", PYTHON, "--implementation", "cp", "--abi", "cp310", "--abi", "abi3",
        "--abi", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--dry-run",
         "--ignore-installed", "--quiet", "--report", "-", "--target", str(target),
         "--only-binary=:all:", *tags, *requirements],
        capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        assert "No matching distribution" in done.stderr, done.stderr[-2000:]
        return None
    return {one["metadata"]["name"]: one["download_info"]["url"].rpartition("/")[2]
            for one in json.loads(done.stdout)["install"]}


@pytest.fixture(scope="module", autouse=True)
def _index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without a package index nothing can be said."""
    if resolve(["simpy>=4"], None, tmp_path_factory.mktemp("index")) is None:
        pytest.skip("no package index can be reached")


@pytest.mark.parametrize("machine", PLATFORMS)
def test_the_extra_has_wheels_for_boards(machine: str, tmp_path: Path) -> None:
    wanted = extra("fleet")
    assert [re.split(r"[=><]", one)[0] for one in wanted] == ["eclipse-zenoh", "simpy"]
    found = resolve(wanted, machine, tmp_path)
    assert found is not None, f"no wheels of {wanted} for {machine}"
    assert set(found) == {"eclipse-zenoh", "simpy"}, "it brings nothing else"
    assert re.search(rf"-abi3-\S*{machine}\.whl$", found["eclipse-zenoh"])
    assert found["simpy"].endswith("-none-any.whl")


def test_the_check_sees_what_has_no_wheel(tmp_path: Path) -> None:
    """NumPy has none for armv7l: there the image's is used."""
    assert resolve(["numpy"], "armv7l", tmp_path) is None
    assert resolve(["numpy"], "aarch64", tmp_path) is not None
