"""The command ``python -m mutants``: begins a campaign, or goes on with it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mutants import rtl
from mutants.python import OWN_TESTS, Plan, campaign
from mutants.report import argued, report
from mutants.session import SURVIVED, Session

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the command; return its exit code."""
    options = _options()
    options.folder = options.folder.resolve()
    session = Session(options.folder / "session.sqlite")
    _check(session, options)
    if options.again:
        for mutant in session.mutants():
            if mutant.outcome == SURVIVED:
                session.set_result(mutant.name, "")
    if not options.report:
        plan = Plan(ROOT, options.folder, tuple(options.packages), options.count, options.seed,
                    options.fast, options.jobs, options.seconds, options.rest,
                    options.keep_records)
        try:
            campaign(plan, session, _tell)
            if options.rtl:
                rtl.campaign_in_copy(options.folder / "session.sqlite", options.folder,
                                     options.rtl, options.seed, options.seconds)
        except KeyboardInterrupt:
            _tell("interrupted; the same command goes on")
    print("\n".join(report(session.mutants(), argued())))  # noqa: T201
    session.close()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="Python mutants (300)")
    parser.add_argument("--rtl", type=int, default=60, help="mutants of RTL leaves (60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (0)")
    parser.add_argument("--packages", nargs="+", default=list(OWN_TESTS), choices=list(OWN_TESTS))
    parser.add_argument("--fast", required=True, help="marks of the tests of 'make test-fast'")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tried at a time (1)")
    parser.add_argument("--seconds", type=float, default=600.0, help="most for a mutant (600)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants",
                        help="session, records and copies (build/mutants)")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    parser.add_argument("--no-rest", dest="rest", action="store_false",
                        help="only tests that have to do with the mutant")
    parser.add_argument("--keep-records", action="store_true",
                        help="do not record again which tests execute what")
    parser.add_argument("--report", action="store_true", help="only print what is known")
    return parser.parse_args()


def _check(session: Session, options: argparse.Namespace) -> None:
    """Refuse to mix campaigns.

    Raises:
        SystemExit: the session belongs to another draw.
    """
    wanted = f"seed {options.seed} of {' '.join(options.packages)}"
    found = session.note("draw")
    if found and found != wanted:
        raise SystemExit(f"mutants: expected a session of {wanted}, found one of {found} in "
                         f"{options.folder}; remove that folder, or choose another with --folder")
    session.set_note("draw", wanted)


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())
