"""Peaks of memory, measured on a card and set beside what `plan` says."""
