"""Stop before weights load when this machine can't run the recipe, and say what it can run."""

from __future__ import annotations

import os

from axolotl.integrations.base import BasePlugin

from plugins.failures import say_failures_in_one_line
from recipes.runner.core.errors import UserErrors
from recipes.runner.core.flags import flag
from recipes.runner.core.terminal import send
from recipes.runner.estimate.preflight import find_problems


class PreflightPlugin(BasePlugin):
    """GPU, dtype, memory, disk and the model's files, all looked at before anything is loaded."""

    def register(self, cfg: dict) -> None:
        """Look, and refuse; `PREFLIGHT=0` in the environment goes past it.

        Raises:
            UserErrors: everything that is missing, at once.
        """
        say_failures_in_one_line()
        if not flag("PREFLIGHT", default=True):
            send("note", text="preflight is off: nothing was checked against this machine")
            return
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return
        config = cfg.to_dict() if hasattr(cfg, "to_dict") else dict(cfg)
        problems = find_problems(config)
        if problems:
            raise UserErrors(problems)
