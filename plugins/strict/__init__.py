"""Recipes without typing errors: unknown keys, wrong types and missing files stop a run early."""

from plugins.strict.plugin import StrictPlugin

__all__ = ["StrictPlugin"]
