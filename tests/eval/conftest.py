"""What the tests of planted arms found, as a table at the end of the report."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

_FOUND: dict[str, Counter[str]] = {}
_KINDS = ("ship", "don't ship", "can't tell")


@pytest.fixture(scope="session")
def planted_table() -> dict[str, Counter[str]]:
    """By arm, how often each decision was made."""
    return _FOUND


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print it."""
    if not _FOUND:
        return
    terminalreporter.section("planted arms: decisions by seed")
    terminalreporter.write_line(f"{'arm':<16}" + "".join(f"{kind:>12}" for kind in _KINDS))
    for arm, said in _FOUND.items():
        terminalreporter.write_line(f"{arm:<16}" + "".join(f"{said[kind]:>12}" for kind in _KINDS))
