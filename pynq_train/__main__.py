"""``python -m pynq_train`` is the command ``pynq-train``."""

from __future__ import annotations

from pynq_train.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
