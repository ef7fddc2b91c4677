"""Compile the kernel's C++ into a shared library, once per content and build."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from pynq_train.eftrain.chips import FP32
from pynq_train.eftrain.design import Design
from pynq_train.errors import BadInput, MissingTool, PynqTrainError
from pynq_train.files.cache import cache_dir, kept

TOP = "ef_top.cpp"
FLAGS = ("-std=c++14", "-O2", "-fPIC", "-shared", "-Wno-unknown-pragmas")
FIXED_FRACTION = 10
"""Fraction bits of the 16-bit type: numbers of +-32 in steps of 2^-10."""
BIAS_TILES = 256
"""Tiles of output channels whose biases the kernel holds."""


def default_source() -> Path:
    """Return the folder of the kernel's sources, of the source tree or the installed package.

    Raises:
        BadInput: neither holds them.
    """
    package = Path(__file__).resolve().parents[2]
    for root in (package.parent, package / "hardware"):
        if (root / "hls" / "src" / TOP).exists():
            return root / "hls" / "src"
    raise BadInput("the sources of the EF-Train kernel were not found",
                   expected=package.parent / "hls" / "src" / TOP, found="no such file",
                   fix="install from the source tree: pip install -e .")


def macros(design: Design) -> tuple[str, ...]:
    """Return the compiler's options that make a build: macros of ``ef_config.hpp``.

    Raises:
        BadInput: the kernel knows no such data type.
    """
    values = {
        "EF_LANES": design.lanes, "EF_WORDS_PER_CYCLE": port_numbers(design),
        "EF_IFM_WORDS": design.ifm_words, "EF_OFM_WORDS": design.ofm_words,
        "EF_WEI_WORDS": design.wei_words, "EF_BIAS_TILES": BIAS_TILES}
    if design.dtype.bits == 16:
        values["EF_FIXED_FRAC"] = FIXED_FRACTION
    elif design.dtype != FP32:
        raise BadInput("EF-Train kernel: data type", expected="fp32 or a 16-bit type",
                       found=design.dtype.name)
    return tuple(f"-D{name}={value}" for name, value in values.items())


def port_numbers(design: Design) -> int:
    """Return how many numbers one beat of a port has.

    As many as the stream carries, at most 8, and a divisor of the lanes.
    """
    most = min(design.timing.words_per_cycle, 8)
    return max(count for count in range(1, most + 1) if design.lanes % count == 0)


def build(design: Design, source: Path | None = None, cache: Path | None = None) -> Path:
    """Return the library of a build, compiling it if the cache does not hold it.

    Args:
        design: lanes, buffers and data type.
        source: folder of the sources (default: :func:`default_source`).
        cache: folder for libraries (default: ``PYNQ_TRAIN_CACHE`` or ``~/.cache/pynq_train``).

    Raises:
        MissingTool: there is no C++ compiler.
        BadInput: the cache cannot be written.
        PynqTrainError: the sources do not compile; the text holds the end of the compiler's output.
    """
    folder = source or default_source()
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "c++", "clang++")), None)
    if compiler is None or shutil.which(compiler) is None:
        raise MissingTool("the EF-Train kernel is compiled on first use",
                          expected="a C++ compiler (g++, c++ or clang++) on the PATH",
                          found=compiler or "none",
                          fix="install one (on Debian and Ubuntu: apt-get install g++) or set CXX")
    flags = (*FLAGS, *macros(design))
    digest = hashlib.sha256("\n".join((compiler, *flags)).encode())
    for path in sorted(folder.glob("*.?pp")):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    library = (cache or cache_dir()) / "eftrain" / f"{digest.hexdigest()[:32]}.so"

    def compiled(work: Path) -> Path:
        """Compile it in a folder."""
        made = work / "kernel.so"
        _compile([compiler, *flags, str(folder / TOP), "-o", str(made)])
        return made

    return kept(library, compiled)


def _compile(command: list[str]) -> None:
    """Run the compiler; PynqTrainError with the end of its output if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise PynqTrainError("the EF-Train kernel does not compile", expected="exit code 0",
                             found=f"{done.returncode}\n{tail}\n",
                             fix="correct the source named above")
