"""Preference training that goes on from an SFT adapter, with that adapter as the reference."""

from __future__ import annotations

from plugins.preference.plugin import PreferencePlugin

__all__ = ["PreferencePlugin"]
