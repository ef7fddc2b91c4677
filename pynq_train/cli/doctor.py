"""The command doctor: what is wrong with this machine, and what to do."""

from __future__ import annotations

import argparse

from pynq_train.cli.commands import network
from pynq_train.doctor import Patient, State, examine


def doctor(options: argparse.Namespace) -> int:
    """Run ``pynq-train doctor``: print one line per check; return 1 if something is wrong."""
    patient = Patient(options.board, network(options.net), options.batch)
    answers = []
    for answer in examine(patient):
        print(answer.text(), flush=True)
        answers.append(answer)
    bad = [answer.name for answer in answers if answer.state == State.WRONG]
    if bad:
        print(f"{patient.name}: put right what is wrong: {', '.join(bad)}")
        return 1
    print(f"{patient.name} is fit to train")
    return 0
