"""Watches what a model says while it is trained: loops, ends, help in danger, false alarms."""

from plugins.answers.plugin import AnswersPlugin

__all__ = ["AnswersPlugin"]
