"""What ends a row or a batch early: loops, and on a CPU rows that are over but still cost."""

from __future__ import annotations

from typing import Any

import torch
from transformers import StoppingCriteria

from datasets_prep.loops import ends_in_loop

LEAST_TO_THIN = 4  # rows; below it nothing is won
_PLAIN_CACHE = ("llama", "falcon", "qwen2", "qwen3")  # model types whose cache selects rows
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

    def is_over(self, new: list[int], row: int) -> bool:
        """Whether a row was ended here or ended itself."""
        return row in self.ended_at or bool(self._ends.intersection(new))

    def over(self, input_ids: torch.Tensor) -> int:
        """How many rows are."""
        written = input_ids[:, self._width :].tolist()
        return sum(self.is_over(new, row) for row, new in enumerate(written))


class HalfDone(StoppingCriteria):  # type: ignore[misc]
    """Halts the whole batch when half of its rows are over, so that the rest can go on alone.

    Args:
        rows: knows which are.
    """

    def __init__(self, rows: LoopStop) -> None:
        self._rows = rows

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any
    ) -> torch.BoolTensor:
        """All rows or none: shape (rows,)."""
        halt = 2 * self._rows.over(input_ids) >= len(input_ids)
        return torch.full((len(input_ids),), halt, device=input_ids.device)  # type: ignore[return-value]


def can_thin_out(model: Any) -> bool:
    """Whether rows that are over are worth dropping, and this model's cache can drop them.

    On a GPU a step costs nearly the same with fewer rows; recurrent and hybrid caches can't select.
    """
    if getattr(model, "device", torch.device("cuda")).type != "cpu":
        return False
    config = getattr(model, "config", None)
    return getattr(config, "model_type", "") in _PLAIN_CACHE
