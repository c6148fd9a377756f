"""The Axolotl plugin: its own trainer, and the length of the run that follows from the rows."""

from __future__ import annotations

import math
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel
from transformers import set_seed

from plugins.packing.first_labels import WithoutFirstLabels
from plugins.packing.spread import parts_of_rows
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import note_fallback
from recipes.runner.core.recipe import ROOT

_OTHER_DATA = ("rl", "reward_model", "process_reward_model", "pretraining_dataset", "streaming")


class PackingArgs(BaseModel):
    """What the plugin adds to Axolotl's configuration."""

    spread_kinds: bool = False
    """Whether the rows of each part of the data (`part`, of `make data`) are spread evenly over the
    steps, in place of the longest first: for steps of few rows, which else hold one kind."""


class PackingPlugin(BasePlugin):
    """Every conversation once an epoch, whatever the number of ranks, also when resumed.

    Axolotl's own sampler shuffles with torch's global generator, cuts an epoch to the shortest of
    four random packings, and repeats one order where several ranks train.
    """

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of what a recipe may say."""
        return "plugins.packing.plugin.PackingArgs"

    def register(self, cfg: dict) -> None:
        """Refuse two orders at once.

        Raises:
            UserError: the recipe wants kinds spread, and an order of its own.
        """
        others = ("curriculum_sampling", "sample_packing_sequentially")
        other = next((key for key in others if cfg.get(key)), None)
        if cfg.get("spread_kinds") and other:
            raise UserError(
                f"keeps the order of the data, and spread_kinds makes another: true with {other}",
                "spread_kinds",
                f"Take {other} or spread_kinds out",
            )

    def get_trainer_cls(self, cfg: Any) -> type | None:
        """The trainer of supervised runs that name no other."""
        if cfg.trainer_cls or any(cfg.get(key) for key in _OTHER_DATA):
            return None
        from plugins.packing.trainer import EveryRowTrainer

        return EveryRowTrainer

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Compile the packing before Axolotl packs to estimate a run's steps.

        It does so eight times, each time in processes of their own; forked from one that has
        compiled it, they need not.
        """
        if cfg.sample_packing:
            from plugins.packing.order import compile_packing

            compile_packing()

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """Divide a step's loss by the trained tokens of all ranks, not each rank by its own.

        Batches are copied to the GPU while it still works on the last step.
        """
        arguments: dict[str, Any] = {"average_tokens_across_devices": True}
        if torch.cuda.is_available() and cfg.dataloader_pin_memory is not False:
            arguments["accelerator_config"] = {"non_blocking": True}
        return arguments

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Draw the adapter's first weights from the recipe's seed.

        Until here Axolotl has seeded nothing, and has drawn more where it prepared the data anew
        than where it found it prepared: two runs of one recipe would begin from other adapters.
        """
        set_seed(42 if cfg.seed is None else cfg.seed)

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Set the steps of the run, which Axolotl has only estimated, and take out first labels."""
        plan = getattr(trainer, "plan_rows", None)
        if plan is None:
            return
        for name in ("data_collator", "eval_data_collator"):
            collate = getattr(trainer, name, None)
            if collate is not None:
                setattr(trainer, name, WithoutFirstLabels(collate))
        if cfg.spread_kinds:
            trainer.kinds = _kinds(cfg, trainer)
        steps = plan()
        if cfg.max_steps:
            return
        args = trainer.args
        args.max_steps = math.ceil(float(cfg.num_epochs or 1) * steps)
        if cfg.warmup_ratio and cfg.warmup_steps is None:
            args.warmup_steps = int(cfg.warmup_ratio * args.max_steps)


def _kinds(cfg: Any, trainer: Any) -> list[str] | None:
    """The part of each row; None where the data names none, as those of one source don't."""
    places = [ROOT / str(source.get("path")) for source in cfg.datasets or []]
    files = [place for place in places if place.is_file()]
    kinds = parts_of_rows(files, trainer.train_dataset, trainer.processing_class)
    if not any(kinds):
        note_fallback("packing.spread_kinds", "the longest rows first", "the data names no parts")
        return None
    if lost := kinds.count(""):
        note_fallback("packing.spread_kinds", f"{lost} rows by chance", "found in no file")
    return kinds
