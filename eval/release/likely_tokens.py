"""What llama.cpp finds likeliest after each prompt, beside transformers: the numbers themselves.

Greedy answers part at the first tie that another order of sums breaks, and then never meet again;
so they tell little of a file. The likelihoods of the first token after 50 prompts do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eval.release.llama_server import LlamaCpp
from eval.release.proof import LARGEST_SHARE
from recipes.runner.core.errors import UserError

TOP = 20
"""Tokens of each prompt that are compared: those that llama.cpp finds likeliest."""


@dataclass(frozen=True)
class Likelihoods:
    """The next token after each prompt, in llama.cpp and in transformers.

    Attributes:
        prompts: how many.
        same: those where both find the same token likeliest.
        relative: root mean square of the differences of log likelihoods, each prompt's taken
            without its mean, relative to the wanted ones'.
        without_adapter: the same for the model without its adapter, where it is known: how much
            the adapter changes.
    """

    prompts: int
    same: int
    relative: float
    without_adapter: float | None = None


def likelihoods_of(model: Any, prompts: list[list[int]]) -> Any:
    """Log likelihoods of the next token, float32, shape (prompts, vocabulary).

    Args:
        model: a causal language model in eval mode.
        prompts: token ids of each.
    """
    import torch

    with torch.inference_mode():
        return torch.stack(
            [
                model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
                .logits[0, -1]
                .float()
                .log_softmax(-1)
                .cpu()
                for ids in prompts
            ]
        )


def compare_likelihoods(
    server: LlamaCpp, prompts: list[list[int]], wanted: Any, without: Any | None = None
) -> Likelihoods:
    """Ask llama.cpp for each prompt's likeliest tokens, and set them beside transformers'.

    Args:
        server: with the file.
        prompts: token ids of each.
        wanted: `likelihoods_of` the model that the file should be.
        without: the same of the model without its adapter.
    """
    import torch

    found, mine, plain = [], [], []
    same = 0
    for row, ids in enumerate(prompts):
        likely = server.next_tokens(ids, TOP)
        tokens = torch.tensor(list(likely))
        found.append(torch.tensor(list(likely.values())))
        mine.append(wanted[row, tokens])
        plain.append(without[row, tokens] if without is not None else mine[-1])
        same += max(likely, key=lambda token: likely[token]) == int(wanted[row].argmax())
    reach = _relative(plain, mine) if without is not None else None
    return Likelihoods(len(prompts), same, _relative(found, mine), reach)


def refuse_likelihoods(found: Likelihoods, effect: float, where: str) -> None:
    """Stop where llama.cpp computes something else than transformers.

    Args:
        found: the comparison.
        effect: what the adapter changes, on the same scale.
        where: the file, for the error.

    Raises:
        UserError: more than `LARGEST_SHARE` of the adapter's effect is lost.
    """
    if not found.relative <= LARGEST_SHARE * effect:
        raise UserError(
            f"llama.cpp computes something else than transformers (likelihoods differ by"
            f" {found.relative:.2g}, and all that the adapter does is {effect:.2g}); nothing was"
            " kept",
            where,
            "Take a type with more bits, or serve the merged model (make serve)",
        )


def _relative(found: list[Any], wanted: list[Any]) -> float:
    differences = squares = 0.0
    for left, right in zip(found, wanted, strict=True):
        centred = right - right.mean()
        differences += float(((left - left.mean() - centred) ** 2).sum())
        squares += float((centred**2).sum())
    return float((differences / squares) ** 0.5)
