"""Verifier (placeholder while being written)."""

from __future__ import annotations

from pynq_train.program.program import Program


def verify(program: Program) -> None:
    """Check a program before it runs."""
    program.fields  # noqa: B018
