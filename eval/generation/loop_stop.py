"""Ends a sequence that has begun to loop, while the rest of its batch goes on."""

from __future__ import annotations

from typing import Any

import torch
from transformers import StoppingCriteria

from datasets_prep.loops import ends_in_loop

_EVERY = 8  # new tokens between two looks


class LoopStop(StoppingCriteria):  # type: ignore[misc]
    """Looks at what each row of the batch wrote so far, and ends those that loop.

    Args:
        tokenizer: to read the new tokens with.
        width: tokens of the padded prompts.
        ends: ids that end an answer; a row that has one is over.

    Attributes:
        ended_at: length in tokens, prompt included, at which a row was ended here.
    """

    def __init__(self, tokenizer: Any, width: int, ends: list[int]) -> None:
        self.ended_at: dict[int, int] = {}
        self._tokenizer, self._width, self._ends = tokenizer, width, set(ends)

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any
    ) -> torch.BoolTensor:
        """Which rows are over: shape (rows,)."""
        length = input_ids.shape[1]
        if (length - self._width) % _EVERY == 0:
            for row, new in enumerate(input_ids[:, self._width :].tolist()):
                if row in self.ended_at or self._ends.intersection(new):
                    continue
                if ends_in_loop(self._tokenizer.decode(new, skip_special_tokens=True)):
                    self.ended_at[row] = length
        over = [row in self.ended_at for row in range(input_ids.shape[0])]
        return torch.tensor(over, device=input_ids.device)  # type: ignore[return-value]
