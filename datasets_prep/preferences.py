"""Preference rows as tokens: both sides, as the recipe's way of learning from them reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from datasets_prep import kto_chat
from datasets_prep.quiet import quiet
from datasets_prep.tokenising import RecipeTokens
from recipes.runner.core.errors import UserError
from recipes.runner.core.labels import IGNORE

PAIRS = ("dpo", "ipo", "orpo", "simpo")


@dataclass(frozen=True)
class Sides:
    """Tokens of one row.

    Attributes:
        prompt: of the prompt.
        answers: by the name of the side (``chosen`` and ``rejected``, or ``wanted`` or
            ``unwanted``): of the answer with its end.
    """

    prompt: int
    answers: dict[str, int]

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longer answer: what must fit."""
        return self.prompt + max(self.answers.values())


class PreferenceTokens:
    """What a recipe makes of preferences: Axolotl's transform, then the tokenizer.

    A recipe without ``rl`` trains no preferences; each side is then a chat of its own under the
    recipe's template, which tells whether it fits.
    """

    def __init__(self, tokens: RecipeTokens) -> None:
        """Keep the tokens of the recipe."""
        self._tokens = tokens

    def __call__(self, row: dict[str, Any]) -> Sides:
        """Tokens of both sides of a row.

        Raises:
            UserError: an answer is not what would be learnt, or the recipe reads rows of another
                kind.
        """
        if not self._tokens.rl:
            return self._as_chats(row)
        pair = "chosen" in row
        if pair != (self._tokens.rl in PAIRS):
            kind = "preference (chosen and rejected)" if pair else "kto (completion and label)"
            raise UserError(
                f"rows of shape {kind} under a recipe with rl: {self._tokens.rl}",
                row["id"],
                f"Set rl: {'dpo' if pair else 'kto'} in the recipe, or another shape",
            )
        with quiet():
            made = self._transform({k: row[k] for k in row if k not in ("id", "source")})
        answers = {}
        for side, said in _answers(row).items():
            ids = self._tokens.count(made[side if pair else "completion"])
            self._check(row, side, self._tokens.decoded(ids), said)
            answers[side] = len(ids)
        return Sides(len(self._tokens.count(made["prompt"])), answers)

    def _check(self, row: dict[str, Any], side: str, text: str, said: str) -> None:
        if "".join(said.split()) in "".join(text.split()):
            return
        raise UserError(
            f"the {side} answer is not what would be learnt: {text[:60]!r} for {said[:60]!r}",
            row["id"],
            "Check the type and the chat template of the recipe",
        )

    def _as_chats(self, row: dict[str, Any]) -> Sides:
        prompt, answers = 0, {}
        tokens = self._tokens(chats_of(row))
        for (side, said), (ids, labels) in zip(_answers(row).items(), tokens, strict=True):
            # The last run of trained tokens; answers within the prompt are context here.
            last = next((i for i in range(len(labels), 0, -1) if labels[i - 1] != IGNORE), 0)
            start = last
            while start and labels[start - 1] != IGNORE:
                start -= 1
            self._check(row, side, self._tokens.decoded(ids[start:last]), said)
            prompt, answers[side] = start, len(ids) - start
        return Sides(prompt, answers)

    @cached_property
    def _transform(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Axolotl's function that makes prompt and answers of a row."""
        from inspect import signature

        with quiet():
            from axolotl.prompt_strategies.dpo import load as load_pairs
            from axolotl.prompt_strategies.kto import load as load_kto

            kto_chat.provide()
            load = load_kto if self._tokens.rl == "kto" else load_pairs
            kind = str(self._tokens.dataset.type)
            found = load(kind, self._tokens.config, dataset_idx=0)
        function = found[0] if isinstance(found, tuple) else found
        if function is None:
            raise UserError(
                f"Axolotl knows no datasets.type '{kind}' for rl: {self._tokens.rl}",
                "the recipe",
                "Set type: chat_template.default",
            )
        if "tokenizer" in signature(function).parameters:
            return lambda row: dict(function(row, tokenizer=self._tokens.tokenizer))
        return lambda row: dict(function(row))


def chats_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Each side of a row as a chat."""
    if "completion" in row:
        return [{"id": row["id"], "source": row["source"], "messages": row["completion"]}]
    return [{**row, "messages": [*row["messages"], row[s]]} for s in ("chosen", "rejected")]


def _answers(row: dict[str, Any]) -> dict[str, str]:
    """The answers of a row by side."""
    if "completion" in row:
        return {"wanted" if row["label"] else "unwanted": row["completion"][-1]["content"]}
    return {side: row[side]["content"] for side in ("chosen", "rejected")}
