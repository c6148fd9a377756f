"""Held-out negative log likelihood: how well each arm predicts the answers people wrote."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eval.generation.arms import LocalArm
from eval.generation.base_model import axolotl_config
from eval.generation.dialogue import Progress
from eval.generation.store import AnswerStore
from eval.generation.version import generation_version
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path
from recipes.runner.run.fingerprint import digest


@dataclass(frozen=True)
class HeldOut:
    """One conversation, tokenised as in training.

    Attributes:
        id: of the row.
        ids: token ids.
        labels: the same ids where an assistant's token is to be predicted, -100 elsewhere.
        messages: the conversation.
    """

    id: str
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    messages: tuple[dict[str, str], ...]


def read_held_out(
    path: Path, config: dict[str, Any], tokenizer: Any, limit: int | None = None
) -> list[HeldOut]:
    """Tokenise ``test.jsonl`` with Axolotl's own chat_template strategy and the run's settings.

    Raises:
        UserError: a row is broken, or nothing is left.
    """
    from axolotl.prompt_strategies.chat_template import load

    source = dict((config.get("test_datasets") or config["datasets"])[0])
    strategy = load(tokenizer, axolotl_config(config), source)
    field = source.get("field_messages") or "messages"
    rows: list[HeldOut] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip() or (limit is not None and len(rows) >= limit):
            continue
        try:
            row = json.loads(line)
            tokens = strategy.tokenize_prompt({field: row[field]})
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"is no conversation: {error}", f"{display_path(path)}:{number}"
            ) from None
        labels = tuple(tokens["labels"])
        if any(label != -100 for label in labels[1:]):
            rows.append(
                HeldOut(
                    str(row.get("id", number)),
                    tuple(tokens["input_ids"]),
                    labels,
                    tuple(row[field]),
                )
            )
    if not rows:
        raise UserError("holds no conversation with an assistant's turn", display_path(path))
    return rows


@torch.inference_mode()
def negative_log_likelihood(model: Any, ids: tuple[int, ...], labels: tuple[int, ...]) -> float:
    """Sum of the negative log likelihoods, in nats, of the labelled tokens of one conversation."""
    logits = model(torch.tensor([ids], device=model.device)).logits[0, :-1]
    wanted = torch.tensor(labels[1:], device=model.device)
    kept = wanted != -100
    return float(
        torch.nn.functional.cross_entropy(logits[kept].float(), wanted[kept], reduction="sum")
    )


def score_held_out(
    arm: LocalArm, rows: list[HeldOut], folder: Path, progress: Progress = lambda n: None
) -> list[tuple[float, int]]:
    """(sum of nats, number of assistant tokens) of each conversation, kept as they come."""
    key = digest([arm.digest, generation_version()])
    store = AnswerStore(folder / f"{arm.name}-held_out-{key[:20]}.jsonl")
    scores = []
    with arm.active() as model:
        for row in rows:
            name = digest([row.ids, row.labels])[:20]
            nats = store.get(name)
            if nats is None:
                nats = negative_log_likelihood(model, row.ids, row.labels)
                store.put(name, nats)
            scores.append((float(nats), sum(label != -100 for label in row.labels[1:])))
            progress(1)
    return scores


def perplexity(scores: list[tuple[float, int]]) -> float:
    """exp of the mean nats per assistant token over all conversations."""
    return math.exp(sum(nats for nats, _ in scores) / sum(tokens for _, tokens in scores))
