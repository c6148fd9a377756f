"""The Axolotl plugin: refuses what can't work, sets the adapters up, watches the margin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel, ConfigDict, Field
from transformers import TrainerCallback

from datasets_prep import kto_chat
from plugins.failures import say_failures_in_one_line
from plugins.preference.reference import go_on_from, keep_in_fp32, save_no_base
from plugins.preference.rows import look_at_rows
from plugins.preference.watch import PreferenceWatch
from recipes.runner.check.preferences import check_preferences
from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.paths import display_path
from recipes.runner.core.yaml_file import dotted
from recipes.runner.models.saved_adapter import MADE_BY_TRL

_TRAINERS = {
    "dpo": "plugins.preference.trainer.PackedDPOTrainer",
    "ipo": "plugins.preference.trainer.PackedDPOTrainer",
    "kto": "plugins.preference.kto.PackedKTOTrainer",
}


class PreferenceOptions(BaseModel):
    """When to warn."""

    model_config = ConfigDict(extra="forbid")

    fall: float = Field(default=0.1, gt=0)
    """Warn when the chosen answers' log probability has fallen by this share of the reference's."""


class PreferenceArgs(BaseModel):
    """What the plugin adds to Axolotl's configuration."""

    preference_watch: PreferenceOptions = Field(default_factory=PreferenceOptions)


class PreferencePlugin(BasePlugin):
    """Makes `rl: dpo` and `rl: kto` go on from `lora_model_dir`; name it before the inputs."""

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of the `preference_watch:` block."""
        return "plugins.preference.plugin.PreferenceArgs"

    def register(self, cfg: dict) -> None:
        """Stop before weights load.

        Raises:
            UserErrors: no reference adapter, one of another base or shape, a beta of 0, rows near a
                suite's prompts.
            UserError: another `rl` or none, or there are no preference rows yet.
        """
        say_failures_in_one_line()
        config = cfg.to_dict() if hasattr(cfg, "to_dict") else dict(cfg)
        recipe = display_path(Path(str(config.get("axolotl_config_path", "the recipe"))))
        if config.get("rl") not in MADE_BY_TRL:
            raise UserError(
                "goes with rl: dpo, ipo or kto alone", f"{recipe}: plugins", "Take it out"
            )
        found = [
            UserError(finding.what, f"{recipe}: {dotted(finding.place)}", finding.todo)
            for finding in check_preferences(config, ready=True)
            if finding.level == "error"
        ]
        if found:
            raise UserErrors(found)
        look_at_rows(config)
        kto_chat.provide()
        if config["rl"] in _TRAINERS and not config.get("trainer_cls"):
            # Axolotl's own hook for a plugin's trainer hands it no model where there is an `rl`.
            cfg["trainer_cls"] = _TRAINERS[config["rl"]]

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """Which checkpoint is kept: Axolotl 0.19 passes these keys on for SFT alone."""
        keys = ("load_best_model_at_end", "metric_for_best_model", "greater_is_better")
        return {key: cfg[key] for key in keys if cfg.get(key) is not None}

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Load the SFT adapter into the one that is trained and into a frozen reference."""
        if cfg.adapter:
            keep_in_fp32(trainer.model)
            save_no_base(trainer.model)
        if cfg.lora_model_dir:
            go_on_from(trainer, Path(str(cfg.lora_model_dir)))

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        """Watch the steps."""
        options = PreferenceOptions(**dict(cfg.get("preference_watch") or {}))
        return [PreferenceWatch(float(trainer.args.beta), options.fall)]
