"""Falcon for Axolotl: really quantised, packed without leaks, fast, and small in memory."""

from __future__ import annotations

from typing import Any

__all__ = ["FalconPlugin"]


def __getattr__(name: str) -> Any:
    """Import the plugin, and with it Axolotl, only when it is asked for."""
    if name == "FalconPlugin":
        from plugins.falcon.plugin import FalconPlugin

        return FalconPlugin
    raise AttributeError(name)
