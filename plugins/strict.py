"""The Axolotl plugin: the first to see a recipe, and to refuse it."""

from __future__ import annotations

from pathlib import Path

from axolotl.integrations.base import BasePlugin

from plugins.failures import say_failures_in_one_line
from plugins.telemetry import switch_off_telemetry
from recipes.runner.check.keys import inspect_config
from recipes.runner.core.errors import UserErrors
from recipes.runner.core.recipe import NO_KEYS
from recipes.runner.core.terminal import send
from recipes.runner.core.yaml_file import read_yaml


class StrictPlugin(BasePlugin):
    """Stop a run whose recipe has a key that nobody reads, a wrong type or a missing file."""

    def register(self, cfg: dict) -> None:
        """Check the recipe as written, with the overrides of the command line.

        Raises:
            UserErrors: all problems at once, each with its file, line and key.
        """
        switch_off_telemetry()
        say_failures_in_one_line()
        as_dict = cfg.to_dict() if hasattr(cfg, "to_dict") else dict(cfg)
        file = read_yaml(Path(str(cfg["axolotl_config_path"])), NO_KEYS)
        report = inspect_config(as_dict, file, starting=True)
        for warning in report.warnings:
            send("warning", text=str(warning))
        if report.errors:
            raise UserErrors(report.errors)
