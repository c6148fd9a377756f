"""Chat data: cleaned, anonymised, split without leaks, and proven trainable.

`prepare` is quick to import and quick to call: nothing heavy is loaded until there is work to do.
"""

from __future__ import annotations

from typing import Any

__all__ = ["prepare"]


def __getattr__(name: str) -> Any:
    """`prepare`, when it is asked for: crisis wording and loops are read from everywhere."""
    if name != "prepare":
        raise AttributeError(name)
    from datasets_prep.pipeline import prepare

    return prepare
