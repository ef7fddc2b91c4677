"""A systemd unit for a member, so that a board is one after every start."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pynq_train.errors import BadInput

UNIT_FOLDER = "/etc/systemd/system"
_UNIT = """\
# Written by 'pynq-train member --unit'. Put it into {folder}/pynq-train-member.service, then
#   systemctl daemon-reload && systemctl enable --now pynq-train-member
[Unit]
Description=pynq_train member {name} ({board})
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
# The settings of the board's image (its Python environment, XRT, the board's name).
ExecStart=/bin/bash -c 'set -a; test -r /etc/environment && . /etc/environment; \
for f in /etc/profile.d/*.sh; do . "$$f"; done; exec "$$0" "$$@"' {command}
# Killed, it comes back; a coordinator joins it again and puts its segments up anew.
Restart=always
RestartSec=2
KillSignal=SIGTERM
TimeoutStopSec=20
# Only root may use the fabric.
User=root
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""


def unit(name: str, board: str, command: Sequence[str]) -> str:
    """Return the text of a unit.

    Args:
        name, board: of the member.
        command: the program and its arguments; the program with its whole path.

    Raises:
        BadInput: an argument would end a line or be taken for one of systemd's specifiers.
    """
    for word in command:
        if any(ord(letter) < 32 or letter in "%$\"'\\" for letter in word):
            raise BadInput("argument of a systemd unit", found=repr(word)[:80],
                           expected="no quotes, backslashes, dollars, percents or line breaks",
                           fix="use other paths")
    return _UNIT.format(folder=UNIT_FOLDER, name=name, board=board, command=shlex.join(command))
