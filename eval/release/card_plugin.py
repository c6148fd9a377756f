"""The Axolotl plugin that gives a finished run its model card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin

from eval.release.card import renew_card


class ModelCardPlugin(BasePlugin):
    """README.md in the run's folder, after the record has its end; named after RunRecordPlugin."""

    def post_train_unload(self, cfg: Any) -> None:
        """Write the card; one that can't be written is a warning, since the adapter counts."""
        if os.environ.get("RANK", "0") == "0":
            renew_card(Path(cfg.output_dir))
