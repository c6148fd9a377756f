"""Greedy answers from a model in the middle of its training, whatever holds it.

Not `generate`: under FSDP and ZeRO-3 weights come together only when the outermost module is
called, and `generate` calls the innermost. This loop calls the module that the trainer calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from datasets_prep.loops import ends_in_loop

_LOOK_EVERY = 16
"""Tokens between two looks whether an answer is caught in a loop, and worth no more tokens."""


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: without special tokens.
        tokens: how many were written, the end token aside.
        ended: whether the end token came before the limit.
    """

    text: str
    tokens: int
    ended: bool


@torch.no_grad()
def greedy_answers(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    together: bool = False,
) -> list[Answer]:
    """Answer all prompts in one batch, always taking the likeliest token.

    Args:
        model: called as ``model(input_ids=..., attention_mask=..., position_ids=...)``; in
            evaluation mode while this runs, and left in the mode it was in.
        tokenizer: its end and padding token end and fill the answers.
        prompts: token ids of each prompt, the start of the answer included.
        max_new_tokens: at most this many new tokens an answer.
        together: every rank runs this with the same prompts, and no rank may stop before the
            others; they don't, since all see the same tokens.
    """
    if not prompts:
        return []
    device = next(model.parameters()).device
    ends = _end_tokens(model, tokenizer)
    fill = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    longest = max(map(len, prompts))
    ids = torch.tensor([[fill] * (longest - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    written: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    going = [True] * len(prompts)
    was_training = model.training
    model.eval()
    try:
        cache, step_ids = None, ids
        for step in range(max_new_tokens):
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            out = model(
                input_ids=step_ids,
                attention_mask=mask,
                position_ids=positions[:, -step_ids.shape[1] :],
                past_key_values=cache,
                use_cache=True,
            )
            # A model that keeps no cache is given the whole text again.
            cache = getattr(out, "past_key_values", None)
            following = out.logits[:, -1].argmax(-1)
            for row, token in enumerate(following.tolist()):
                if not going[row]:
                    continue
                if token in ends:
                    going[row], ended[row] = False, True
                else:
                    written[row].append(token)
            if step % _LOOK_EVERY == _LOOK_EVERY - 1 and not together:
                for row, tokens in enumerate(written):
                    if going[row] and ends_in_loop(tokenizer.decode(tokens)):
                        going[row] = False
            if not any(going):
                break
            ids = torch.cat([ids, following[:, None]], dim=1)
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            step_ids = ids if cache is None else following[:, None]
    finally:
        model.train(was_training)
    return [
        Answer(tokenizer.decode(tokens, skip_special_tokens=True).strip(), len(tokens), end)
        for tokens, end in zip(written, ended, strict=True)
    ]


def _end_tokens(model: nn.Module, tokenizer: Any) -> set[int]:
    config = getattr(model, "generation_config", None) or getattr(
        getattr(model, "module", None), "generation_config", None
    )
    named = getattr(config, "eos_token_id", None)
    ends = set(named) if isinstance(named, (list, tuple)) else {named}
    return {token for token in ends | {tokenizer.eos_token_id} if token is not None}
