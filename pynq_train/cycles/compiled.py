"""The cycle model compiled: the same source as machine code, which takes a quarter of the time.

``mypyc``, which comes with ``mypy``, makes C of the modules of this package, and the C compiler a
library of that, once per version. It is kept in the cache folder (ADR 21). Where one of both is
missing the modules run as they are: the results are the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from pynq_train.cycles.engine import Engine
from pynq_train.cycles.trace import Command
from pynq_train.errors import PynqTrainError
from pynq_train.files.cache import cache_dir, kept

_LOG = logging.getLogger(__name__)

MODULES = ("kernel", "dram", "ports", "queue", "address_generator", "load", "compute", "trace",
           "pool", "vector", "scalar", "store", "skip", "engine")
"""What is compiled: each of them imports those before it only."""
READ = ("hw", "program", "files", "arrays.py", "errors.py", "version.py")
"""Parts of the package whose types the compiler looks up; they are not compiled."""
OWN = "pynq_train.cycles"
"""Name of this package in its modules; the compiled ones have that of their library instead."""
FLAGS = ("-O2", "-fPIC", "-fvisibility=hidden", "-fno-plt", "-fwrapv", "-DNDEBUG", "-w")
WORTH = 100
"""Descriptors of a program for which the library is built: predictions of less take a moment."""
CHOICE = "PYNQ_TRAIN_COMPILED"
"""Environment variable: with ``0`` the modules run as they are."""
_MYPY = """
[mypy]
ignore_missing_imports = true
[mypy-pynq_train.*]
ignore_errors = true
[mypy-numpy.*]
follow_imports = skip
"""
"""Settings of mypy: only what is compiled is checked, whatever the version of NumPy."""
_TO_C = """
import json, sys
from mypyc.build import mypycify
made = mypycify(sys.argv[2:], multi_file=True, group_name=sys.argv[1])
with open("made.json", "w") as file:
    json.dump([(one.name, one.sources, one.include_dirs) for one in made], file)
"""
"""Makes C of modules, in a process of its own: where it fails it ends the process."""


@dataclass(frozen=True)
class Model:
    """The cycle model, compiled or not.

    Attributes:
        engine: its :class:`~pynq_train.cycles.Engine`.
        command: the class of what this engine runs.
        plain: why it is not compiled; None if it is.
    """

    engine: type[Engine]
    command: type[Command]
    plain: str | None = None


@dataclass(frozen=True)
class Tools:
    """What compiles.

    Attributes:
        cc: the C compiler.
        identity: versions of Python, mypyc and the compiler.
    """

    cc: str
    identity: str


@dataclass(frozen=True)
class Library:
    """The compiled modules.

    Attributes:
        path: where the library stands or will stand.
        name: name of their package, another one for each version.
        tools: what builds it.
        tell: is told that it is built, or why it is not.
    """

    path: Path
    name: str
    tools: Tools
    tell: Callable[[str], object] = field(compare=False)

    @classmethod
    def of(cls, tools: Tools, folder: Path, tell: Callable[[str], object]) -> Library:
        """Return that of the present sources."""
        key = cache_key(tools)
        return cls(folder / "cycles" / f"{key[:32]}.so", f"pynq_train_cycles_{key[:16]}", tools,
                   tell)


def model(descriptors: int = WORTH, tell: Callable[[str], object] = _LOG.info,
          folder: Path | None = None) -> Model:
    """Return the cycle model for a program: compiled, if the cache has it or it can be built.

    Args:
        descriptors: descriptors of the program; for few of them nothing is built.
        tell: is told once that something is built, and why the model is slower.
        folder: the cache (default: :func:`~pynq_train.files.cache.cache_dir`).
    """
    if os.environ.get(CHOICE) == "0":
        return Model(Engine, Command, f"{CHOICE}=0")
    tools = find_tools()
    if isinstance(tools, str):
        if descriptors >= WORTH:
            tell(f"the cycle model is not compiled, predictions take longer: {tools}")
        return Model(Engine, Command, tools)
    library = Library.of(tools, folder or cache_dir(), tell)
    if descriptors < WORTH and not library.path.exists():
        return Model(Engine, Command, "no large program has been predicted yet")
    return _model(library)


@cache
def _model(library: Library) -> Model:
    """Return the model of a library, which is built if need be; if it cannot, the plain one."""
    try:
        return load(kept(library.path, lambda work: build(library, work)), library.name)
    except (PynqTrainError, ImportError) as error:
        _LOG.warning("the cycle model is not compiled, predictions take longer: %s", error)
        return Model(Engine, Command, str(error))


def load(path: Path, name: str) -> Model:
    """Load the modules of a library as a package ``name`` and return the model.

    Raises:
        ImportError: it is no library of this Python.
    """
    package = ModuleType(name)
    package.__path__ = []
    sys.modules[name] = package
    # What they share comes first; every module finds those that it imports loaded.
    for module in (f"{name}__mypyc", *(f"{name}.{module}" for module in MODULES)):
        loader = ExtensionFileLoader(module, str(path))
        spec = spec_from_file_location(module, path, loader=loader)
        assert spec is not None
        sys.modules[module] = made = module_from_spec(spec)
        loader.exec_module(made)
    return Model(made.Engine, sys.modules[f"{name}.trace"].Command)


def find_tools() -> Tools | str:
    """Return what compiles, or what is missing."""
    mypyc = find_spec("mypyc")
    if mypyc is None or mypyc.origin is None or find_spec("setuptools") is None:
        return "expected the packages mypy and setuptools; run: pip install 'pynq-train[fast]'"
    wanted = os.environ.get("CC")
    cc = next(filter(None, map(shutil.which, [wanted] if wanted else ["gcc", "cc", "clang"])), None)
    if cc is None:
        return "expected a C compiler; install one (on Debian and Ubuntu: apt-get install gcc)"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "expected Python.h; install it (on Debian and Ubuntu: apt-get install python3-dev)"
    # Files tell versions apart as well: to ask the programs would take longer than to predict.
    packages = Path(mypyc.origin).parents[1]
    versions = [path.name for path in packages.glob("mypy-*.dist-info")] or [_stamp(mypyc.origin)]
    return Tools(cc, "\n".join([sys.version, str(sysconfig.get_config_var("SOABI")), *versions,
                                _stamp(cc)]))


def _stamp(path: str) -> str:
    """Return what another version of a file would not have."""
    found = Path(path).resolve()
    return f"{found} {found.stat().st_size} {found.stat().st_mtime_ns}"


def sources() -> list[Path]:
    """Return the files that decide about the library: the modules, and what they import."""
    here = Path(__file__).resolve().parent
    return [Path(__file__).resolve(), *(here / f"{name}.py" for name in MODULES),
            *sorted((here.parent / "hw").glob("*.py")),
            *(here.parent / "program" / name for name in ("program.py", "spans.py"))]


def cache_key(tools: Tools) -> str:
    """Return the SHA-256 of all that decides about the library: sources, and tools."""
    digest = hashlib.sha256()
    for part in (*(path.read_bytes() for path in sources()), tools.identity.encode()):
        # With the length in front other parts cannot give the same bytes.
        digest.update(f"{len(part)}:".encode())
        digest.update(part)
    return digest.hexdigest()


def build(library: Library, work: Path) -> Path:
    """Build a library in the folder ``work`` and return the file.

    Raises:
        PynqTrainError: it cannot be built; the text holds the end of the tool's output.
    """
    library.tell("compiling the cycle model (once per version, about half a minute)")
    name, cc = library.name, library.tools.cc
    here = Path(__file__).resolve().parent
    for package in (name, "pynq_train"):
        (work / package).mkdir()
        (work / package / "__init__.py").touch()
    for part in READ:
        source, target = here.parent / part, work / "pynq_train" / part
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
    for module in MODULES:
        text = (here / f"{module}.py").read_text(encoding="utf-8").replace(OWN, name)
        (work / name / f"{module}.py").write_text(text, encoding="utf-8")
    (work / "mypy.ini").write_text(_MYPY, encoding="utf-8")
    _run([sys.executable, "-c", _TO_C, name, *(f"{name}/{module}.py" for module in MODULES)], work)
    made = json.loads((work / "made.json").read_text(encoding="utf-8"))
    include = {sysconfig.get_paths()["include"], *(path for one in made for path in one[2])}
    units = [(source, module) for module, found, _ in made for source in found]
    # Large units first, so that no core is left alone with one at the end.
    units.sort(key=lambda unit: (work / unit[0]).stat().st_size, reverse=True)

    def translate(unit: tuple[str, str]) -> str:
        """Compile one unit and return its object file."""
        source, module = unit
        out = source.replace("/", "-") + ".o"
        # Each module has a function of this name, since each could be a library of its own.
        alone = f"-DPyInit___init__=unused_{module.replace('.', '_')}"
        _run([cc, "-c", *FLAGS, alone, *(f"-I{path}" for path in sorted(include)), source,
              "-o", out], work)
        return out

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(translate, units))
    _run([cc, "-shared", *objects, "-o", "cycles.so"], work)
    return work / "cycles.so"


def _run(command: Sequence[str], work: Path) -> None:
    """Run a command in a folder; PynqTrainError with the end of its output if it fails."""
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise PynqTrainError(f"{Path(command[0]).name} could not build the cycle model",
                             expected="exit code 0", found=f"{done.returncode}\n{tail}\n",
                             fix="correct the source named above, or set CC to another compiler")
