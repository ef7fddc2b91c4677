"""Puts the engine's RTL and the simulator's sources into the package: see pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
HARDWARE = {"rtl": ("*.sv", "*.v", "*.f"), "sim/vboard": ("*.sv", "*.cpp", "*.hpp")}
"""Folders of the source tree that an installed package needs to build virtual boards."""


class BuildWithHardware(build_py):
    """Copies the hardware beside the Python files, as ``pynq_train/hardware``."""

    def run(self):
        """Build, then copy; an editable install finds the hardware in the source tree."""
        super().run()
        if not self.editable_mode:
            for source, target in self.hardware():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode=1):
        """All files of the build."""
        own = [] if self.editable_mode else [str(target) for _, target in self.hardware()]
        return super().get_outputs(include_bytecode) + own

    def hardware(self):
        """Files to copy: where they are, where they go."""
        base = Path(self.build_lib) / "pynq_train" / "hardware"
        for folder, patterns in HARDWARE.items():
            for pattern in patterns:
                for path in sorted((ROOT / folder).rglob(pattern)):
                    yield path, base / path.relative_to(ROOT)


setup(cmdclass={"build_py": BuildWithHardware})
