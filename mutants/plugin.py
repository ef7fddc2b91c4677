"""Plugin of pytest in the copies: chooses and orders tests, and records what they execute.

``-p mutants.plugin`` with ``--mutants-record FOLDER`` writes which test executes which line
(coverage data, a context for each test) and ``tests*.json``: seconds of processor time of those
that ran, and the names of all that were collected. ``--mutants-run FILE`` takes a JSON file:
``run``, tests in the order of their files, and ``known``; a test that is not known runs too.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("mutants")
    group.addoption("--mutants-record", metavar="FOLDER", default=None)
    group.addoption("--mutants-run", metavar="FILE", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Register what the options ask for; with workers of xdist, in each of them.

    Raises:
        pytest.UsageError: the tests would run on another copy of the sources than that in the
            working folder.
    """
    found = importlib.util.find_spec("pynq_train")
    source = Path(found.origin or "").resolve() if found else None
    here = Path.cwd().resolve()
    if source != here / "pynq_train" / "__init__.py" or config.rootpath.resolve() != here:
        raise pytest.UsageError(f"expected sources and tests in {here}, found {source} and tests "
                                f"of {config.rootpath}; put {here} first on PYTHONPATH")
    folder, choice = config.getoption("--mutants-record"), config.getoption("--mutants-run")
    workers = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if folder and not workers:
        name = getattr(config, "workerinput", {}).get("workerid", "main")
        config.pluginmanager.register(Recorder(Path(folder), name), "mutants-recorder")
    if choice:
        config.pluginmanager.register(Choice(Path(choice)), "mutants-choice")


class Recorder:
    """Records lines by test, with coverage, and processor time."""

    def __init__(self, folder: Path, name: str) -> None:
        """Begin to record; ``name`` tells workers apart."""
        self._folder, self._name = folder, name
        self._seconds: dict[str, float] = {}
        self._collected: list[str] = []
        self._coverage = coverage.Coverage(
            data_file=str(folder / f"coverage.{name}"), source=["pynq_train"], config_file=False)
        self._coverage.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note all names, before marks choose."""
        self._collected = [item.nodeid for item in items]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record under the test's name."""
        begin = time.process_time()
        self._coverage.switch_context(item.nodeid)
        yield
        self._coverage.switch_context("")
        self._seconds[item.nodeid] = time.process_time() - begin

    def pytest_sessionfinish(self) -> None:
        """Write everything."""
        self._coverage.stop()
        self._coverage.save()
        record = {"seconds": self._seconds, "collected": self._collected}
        path = self._folder / f"tests-{self._name}.json"
        path.write_text(json.dumps(record), encoding="utf-8")


class Choice:
    """Runs the tests of a list, file by file in its order, and those that nobody knew."""

    def __init__(self, path: Path) -> None:
        """Read the list."""
        choice = json.loads(path.read_text(encoding="utf-8"))
        self._run, self._known = set(choice["run"]), set(choice["known"])
        files = dict.fromkeys(name.partition("::")[0] for name in choice["run"])
        self._rank = {file: rank for rank, file in enumerate(files)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose, and sort by file."""
        chosen = [item for item in items
                  if item.nodeid in self._run or item.nodeid not in self._known]
        items[:] = sorted(chosen, key=self._rank_of)

    def _rank_of(self, item: pytest.Item) -> int:
        return self._rank.get(item.nodeid.partition("::")[0], len(self._rank))
