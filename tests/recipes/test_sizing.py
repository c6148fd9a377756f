"""SIZING.md: fresh, and set against what was measured."""

import pytest

from recipes.runner.estimate.sizing import (
    FILE,
    SHARES,
    SMALL,
    exchange_seconds,
    sizing_text,
    tokens_per_second,
)
from recipes.runner.models.architecture import architecture


def test_file_is_fresh():
    assert FILE.read_text(encoding="utf-8") == sizing_text(), "run make table"


def test_speed_is_that_which_was_measured_on_one_gpu():
    shape = architecture(SMALL)
    assert tokens_per_second(shape, SHARES["fused path"]) == pytest.approx(17_285, rel=0.02)
    assert tokens_per_second(shape, SHARES["stock"]) == pytest.approx(3_446, rel=0.02)


def test_an_exchange_sends_all_but_a_machines_own_share_twice():
    assert exchange_seconds(8e9, 1e9) == pytest.approx(14)
