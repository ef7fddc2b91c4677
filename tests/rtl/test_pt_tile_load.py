"""Tile loader (X and S) with its row walk against the model of docs/engine.md section 3."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sim.bfm.env import run_bench
