"""Builds the compiled cycle model, so that the first prediction need not: ``make setup``."""

from __future__ import annotations

from pynq_train.cycles.compiled import model

if __name__ == "__main__":
    def tell(text: str) -> None:
        """Print a line."""
        print(f"setup: {text}", flush=True)  # noqa: T201

    model(tell=tell)
