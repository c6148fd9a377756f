"""Falcon for Axolotl: really quantised, packed without leaks, fast, and small in memory."""

from plugins.falcon.plugin import FalconPlugin

__all__ = ["FalconPlugin"]
