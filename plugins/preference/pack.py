"""Chosen and rejected answers of a micro-batch laid end to end in one row, without padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from plugins.collators import OverCollator


class PackPairs(OverCollator):
    """A collator over TRL's, whose cut at ``max_length`` stays.

    Args:
        collate: of TRL, `DataCollatorForPreference`.
        multiple: the row is filled up to a multiple of so many tokens, so that batches of many
            lengths share a few shapes, for which kernels are recorded.
    """

    def __init__(self, collate: Callable[..., Any], multiple: int = 1) -> None:
        super().__init__(collate)
        self.multiple = multiple

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As `pack_pairs`."""
        return pack_pairs(self.collate(*args, **kwargs), self.multiple)


def pack_pairs(padded: dict[str, torch.Tensor], multiple: int = 1) -> dict[str, Any]:
    """Lay the rows of a batch of TRL's end to end.

    Args:
        padded: ``input_ids``, ``attention_mask`` and ``completion_mask`` [2 * pairs, T], chosen
            above rejected.
        multiple: the row's length becomes a multiple of it.

    Returns:
        ``completion_tokens`` [2 * pairs] int64, trained tokens of each sequence (the first entry,
        since the Trainer takes a batch's size from there); ``input_ids`` and ``position_ids``
        [1, T] int64, where positions begin at 0 with each sequence and with the filling; and the
        targets, all [N] int64: ``target_rows``, the places before them, ``target_ids`` and
        ``target_sequences``; and ``tokens``, how many are no filling.
    """
    ids, real = padded["input_ids"], padded["attention_mask"].bool()
    trained = padded["completion_mask"].bool() & real
    trained[:, 0] = False  # nothing before it to predict it from
    positions = real.long().cumsum(1) - 1
    of = torch.arange(len(ids))[:, None].expand_as(ids)
    flat = {
        "ids": ids[real], "positions": positions[real], "of": of[real], "trained": trained[real]
    }  # fmt: skip
    rows = flat["trained"].nonzero().flatten() - 1
    filling = -len(flat["ids"]) % multiple
    return {
        "completion_tokens": trained.sum(1),
        "input_ids": torch.cat([flat["ids"], ids.new_zeros(filling)])[None],
        "position_ids": torch.cat([flat["positions"], torch.arange(filling)])[None],
        "target_rows": rows,
        "target_ids": flat["ids"][rows + 1],
        "target_sequences": flat["of"][rows + 1],
        "tokens": len(flat["ids"]),
    }
