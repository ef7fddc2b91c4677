"""The processor of a PYNQ board in software: Python for 32-bit ARM, run by QEMU.

Debian's packages of Python, NumPy and what the tests need are downloaded by name, with the packages
that they ask for, and unpacked into ``build/arm``: nothing is installed, and nothing outside of the
folder changes. QEMU emulates the Cortex-A9 of the Zynq-7000. Debian's Python is newer than the one
of the boards' images (3.10): what is tested is the architecture, not that version.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.bfm.simulators import ROOT, made

FOLDER = ROOT / "build" / "arm"
CPU = "cortex-a9"
EMULATOR = "qemu-user-static"
"""Package with the emulator, for the machine that the tests run on."""
PACKAGES = ("python3", "python3-numpy", "python3-tqdm", "python3-pytest", "python3-hypothesis")
"""Debian packages for 32-bit ARM (armhf)."""
WHEELS = ("safetensors>=0.4",)
"""Packages of PyPI that Debian does not have, as wheels for armv7l."""
_TOOLS = ("apt-get", "dpkg", "dpkg-deb")
_QEMU = "usr/bin/qemu-arm-static"
_PYTHON = "usr/bin/python3"
_WHEEL_PLATFORMS = ("manylinux_2_17_armv7l", "manylinux2014_armv7l", "any")
_SECONDS = 300
"""Most that a download may take."""
# A state of its own in place of the machine's: no architecture is added to that, and its lists of
# packages and its cache are not touched. Nothing counts as installed, so all that a package needs
# comes with it.
_CONFIGURATION = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::Languages "none";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""


class Unavailable(Exception):
    """The packages cannot be had here; the text says why."""


@dataclass(frozen=True)
class Processor:
    """An emulated processor with its Python.

    Attributes:
        folder: where everything is unpacked.
    """

    folder: Path

    def versions(self) -> str:
        """Names and versions of emulator and packages, one line."""
        return (self.folder / "versions.txt").read_text(encoding="utf-8").strip()

    def python(self, arguments: Sequence[str | Path], cwd: Path, *,
               path: Iterable[Path] = (), env: Mapping[str, str] | None = None
               ) -> subprocess.CompletedProcess[str]:
        """Run this Python; output and errors come together as ``stdout``.

        Args:
            arguments: behind the name of the program.
            cwd: folder in which it runs.
            path: folders in which modules are looked for, before the packages.
            env: further environment variables; the rest is empty but for ``PATH`` and ``HOME``.
        """
        root = self.folder / "root"
        libraries = sorted((root / "usr" / "lib").glob("arm-linux-*"))
        # update-alternatives, which nobody has run here, would link BLAS and LAPACK.
        search = [str(one / name) for one in libraries for name in ("blas", "lapack")]
        modules = [*map(str, path), str(self.folder / "wheels")]
        variables = {
            "PATH": os.defpath, "HOME": str(self.folder), "PYTHONPATH": os.pathsep.join(modules),
            "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"), "OPENBLAS_NUM_THREADS": "1",
            **(env or {}),
        }
        command = [self.folder / _QEMU, "-cpu", CPU, "-L", root,
                   "-E", f"LD_LIBRARY_PATH={os.pathsep.join(search)}", root / _PYTHON, *arguments]
        return subprocess.run([str(word) for word in command], cwd=cwd, env=variables, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def prepare() -> Processor:
    """Return the processor; the first time its packages are downloaded and unpacked.

    Raises:
        Unavailable: this is no Debian, or a package could not be had.
    """
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"expected Debian's {', '.join(_TOOLS)}, found no {', '.join(missing)}")
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return Processor(made(FOLDER / digest, _unpack))


def _unpack(folder: Path) -> None:
    """Fill an empty folder with emulator, Python and packages."""
    host = _run(["dpkg", "--print-architecture"]).strip()
    archives = _download(folder / "apt", "armhf", PACKAGES)
    for archive in archives:
        _run(["dpkg-deb", "--extract", archive, folder / "root"])
    emulators = _download(folder / "apt-host", host, (EMULATOR,))
    for archive in emulators:
        _take_emulator(archive, folder)
    found = dict(map(_fields, [*emulators, *archives]))
    absent = [name for name in (EMULATOR, *PACKAGES) if name not in found]
    if absent:
        raise Unavailable(f"apt-get ended well, but brought no {', '.join(absent)}")
    versions = [f"{name} {found[name]}" for name in (EMULATOR, *PACKAGES)]
    for name in ("apt", "apt-host"):
        shutil.rmtree(folder / name)
    digits = Processor(folder).python(
        ["-c", "import sys; print('%d%d' % sys.version_info[:2])"], folder)
    if not re.fullmatch(r"\d+\s*", digits.stdout):
        raise Unavailable(f"the emulated Python does not start: {digits.stdout[-500:]}")
    platforms = [word for name in _WHEEL_PLATFORMS for word in ("--platform", name)]
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet",
          "--no-deps", "--no-compile", "--only-binary", ":all:", *platforms, "--implementation",
          "cp", "--python-version", digits.stdout.strip(), "--target", folder / "wheels", *WHEELS])
    versions += sorted(path.name.removesuffix(".dist-info").replace("-", " ")
                       for path in (folder / "wheels").glob("*.dist-info"))
    (folder / "versions.txt").write_text("; ".join(versions) + "\n", encoding="utf-8")


def _download(folder: Path, architecture: str, packages: Sequence[str]) -> list[Path]:
    """Download packages of an architecture, with those that they need; return their archives."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    configuration = folder / "apt.conf"
    configuration.write_text(
        _CONFIGURATION.format(architecture=architecture, folder=folder), encoding="utf-8")
    env = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"}
    lists = ""
    try:
        _run(["apt-get", "-qq", "update"], env)
    except Unavailable as error:
        lists = f"; {error}"  # one source of several may be out of step: the rest may do
    try:
        _run(["apt-get", "-qq", "install", "--yes", "--download-only", *packages], env)
    except Unavailable as error:
        raise Unavailable(f"{error}{lists}") from error
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def _take_emulator(archive: Path, folder: Path) -> None:
    """Unpack one of the package's sixty emulators, which are 400 MB."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as tar:
        subprocess.run(["tar", "--extract", "--directory", folder, f"./{_QEMU}"],
                       stdin=tar.stdout, capture_output=True, check=False)


def _fields(archive: Path) -> tuple[str, str]:
    """Name and version of a package."""
    text = _run(["dpkg-deb", "--field", archive, "Package", "Version"])
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    return fields["Package"], fields["Version"]


def _run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """Return what a command prints; Unavailable with the end of its errors if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=_SECONDS,
                              check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{words[0]} took longer than {_SECONDS} s") from error
    if done.returncode:
        raise Unavailable(f"{words[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
