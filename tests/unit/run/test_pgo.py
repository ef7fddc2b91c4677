"""The workload of the build's profile runs on the configuration that is built."""

from __future__ import annotations

import pytest

from pynq_train.backends.vboard.build import default_source
from pynq_train.hw.config import CONFIGS
from pynq_train.run.pgo import board_of_package


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_has_a_pgo_run_on_a_board_of_its_own(name: str) -> None:
    package = default_source(config=CONFIGS[name]).package
    assert package is not None
    assert board_of_package(package.as_posix()).config == CONFIGS[name]


def test_without_a_package_the_smallest_one_is_taken() -> None:
    assert board_of_package("").config.name == "zynq7020"
