"""A collator over another one: the trainer's own, with something done to its batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OverCollator:
    """Passes on all that the trainer, Axolotl or a callback asks of the collator below.

    Args:
        collate: the collator of the trainer.
    """

    def __init__(self, collate: Callable[..., Any]) -> None:
        self.collate = collate

    def __getattr__(self, name: str) -> Any:
        """An attribute of the collator below."""
        if name == "collate":  # not there yet while this object is unpickled
            raise AttributeError(name)
        return getattr(self.collate, name)
