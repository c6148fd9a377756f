"""The benchmark runs the command, and draws its line through two sizes."""

from __future__ import annotations

import pytest

from datasets_prep import benchmark
from datasets_prep.benchmark import Measured, slope

GIB = 2**30


def test_a_line_through_two_sizes() -> None:
    less = Measured("all steps", 20_000, 60.0, 100.0, GIB, 2)
    more = Measured("all steps", 120_000, 210.0, 350.0, GIB + 100_000 * 1024, 2)
    said = slope(less, more)
    assert "400 for each second of a core, 1.00 KiB of memory a row" in said
    # What 120,000 rows took, and a KiB for each further one.
    assert f"{(GIB + 980_000 * 1024) / GIB:.2f} GiB at 1,000,000" in said


def test_memory_that_falls_leads_nowhere_below_what_was_measured() -> None:
    less = Measured("all steps", 20_000, 60.0, 100.0, 2 * GIB, 2)
    more = Measured("all steps", 120_000, 210.0, 350.0, GIB, 2)
    assert "1.00 GiB at 1,000,000" in slope(less, more)


def test_the_command_runs_at_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main(["--rows", "80", "40", "--only", "plain", "--workers", "1"])
    first, second, line = capsys.readouterr().out.splitlines()
    assert first.startswith("no filter, no proof: 40 rows in ")
    assert second.startswith("no filter, no proof: 80 rows in ")
    assert line.startswith("  from 40 to 80 rows: ")
