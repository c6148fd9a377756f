"""The Axolotl plugin: the first to see a recipe, and to refuse it."""

from __future__ import annotations

from pathlib import Path

from axolotl.integrations.base import BasePlugin

from plugins.failures import say_failures_in_one_line
from plugins.telemetry import switch_off_telemetry
from recipes.runner.check.keys import check_config
from recipes.runner.core.errors import UserErrors


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
        problems = check_config(as_dict, Path(str(cfg["axolotl_config_path"])))
        if problems:
            raise UserErrors(problems)
