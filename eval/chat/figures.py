"""Figures of an answer in words, for the page and the terminal."""

from __future__ import annotations

from typing import Any


def figures_in_words(figures: dict[str, Any]) -> str:
    """Tokens, first token and speed of one answer, as a person reads them."""
    count = figures["tokens"]
    parts = [f"{count:,} token{'' if count == 1 else 's'}"]
    if figures.get("first_token_seconds") is not None:
        parts.append(f"first after {figures['first_token_seconds']:.2f} s")
    if figures.get("tokens_per_second"):
        parts.append(f"{figures['tokens_per_second']:.0f} tokens/s")
    return ", ".join(parts)
