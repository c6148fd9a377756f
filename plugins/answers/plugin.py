"""The Axolotl plugin: what is asked, by which ranks, and where the figures go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed as dist
from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel, ConfigDict, Field

from plugins.answers.greedy import Answer, greedy_answers
from plugins.answers.prompts import Prompt, held_out_prompts, read_prompts
from plugins.answers.watch import FIGURES, METRIC, WatchAnswers
from recipes.runner.core.recipe import ROOT
from recipes.runner.run.record import read_record


class AnswersOptions(BaseModel):
    """What is asked at each evaluation, and what is allowed."""

    model_config = ConfigDict(extra="forbid")

    prompts: str = "plugins/answers/prompts.jsonl"
    """Prompts of no suite, from the repository's root: id, kind (danger, harmless, plain)."""

    held_out: int = Field(default=8, ge=0)
    """This many held-out conversations are opened too."""

    max_new_tokens: int = Field(default=96, ge=8)
    """Longer answers count as not ended."""

    most_loops: float = Field(default=0.05, ge=0, le=1)
    """The checkpoint that is chosen may loop in this share of its answers, and no more than the
    base does; with `metric_for_best_model: eval_sound_answers_loss`."""


class AnswersArgs(BaseModel):
    """What the plugin adds to Axolotl's configuration."""

    answers_watch: AnswersOptions = Field(default_factory=AnswersOptions)


class AnswersPlugin(BasePlugin):
    """Answers a few prompts greedily at each evaluation; name it before the run record."""

    measures = (METRIC,)
    """What it adds to an evaluation, for `metric_for_best_model`."""

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of the `answers_watch:` block."""
        return "plugins.answers.plugin.AnswersArgs"

    def register(self, cfg: dict) -> None:
        """Read the prompts, so that a fault in them stops the run before weights load.

        Raises:
            UserError: the file of prompts is missing or wrong.
        """
        options = AnswersOptions(**dict(cfg.get("answers_watch") or {}))
        read_prompts(ROOT / options.prompts)

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Put the watch before early stopping and the record, which read what it adds."""
        options = AnswersOptions(**dict(cfg.get("answers_watch") or {}))
        files = [Path(str(d.get("path"))) for d in cfg.get("test_datasets") or []]
        prompts = [
            *read_prompts(ROOT / options.prompts),
            *held_out_prompts(files, options.held_out, int(cfg.get("seed") or 42)),
        ]
        watch = WatchAnswers(
            prompts,
            _asker(trainer, prompts, options.max_new_tokens),
            options.most_loops,
            _of_the_base(Path(str(cfg.output_dir))),
            calm=bool(cfg.rl and cfg.lora_model_dir),
        )
        trainer.callback_handler.callbacks.insert(0, watch)


def _of_the_base(folder: Path) -> dict[str, Any] | None:
    """What an earlier part of a resumed run measured before its first step."""
    for point in read_record(folder).get("evaluations") or []:
        if point.get("step") == 0 and point.get("answers"):
            return dict(point["answers"])
    return None


def _asker(trainer: Any, prompts: list[Prompt], max_new_tokens: int) -> Any:
    tokenizer = trainer.processing_class
    ids = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt.content}],
            add_generation_prompt=True,
            return_dict=False,
        )
        for prompt in prompts
    ]

    def ask() -> list[Answer]:
        sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        # Sharded weights come together for all ranks at once; whole ones share the work.
        rank, world = (0, 1) if sharded or not dist.is_initialized() else _ranks()
        with trainer.compute_loss_context_manager():
            model = trainer.model_wrapped if sharded else trainer.model
            own = greedy_answers(model, tokenizer, ids[rank::world], max_new_tokens, sharded)
        if world == 1:
            return own
        parts: list[Any] = [None] * world
        dist.all_gather_object(parts, own)
        answers: list[Any] = [None] * len(ids)
        for other, part in enumerate(parts):
            answers[other::world] = part
        return answers

    return ask


def _ranks() -> tuple[int, int]:
    return dist.get_rank(), dist.get_world_size()


__all__ = ["FIGURES", "AnswersArgs", "AnswersOptions", "AnswersPlugin"]
