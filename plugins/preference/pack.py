"""Answers of a micro-batch laid end to end in one row, without padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from plugins.collators import OverCollator

_PADDED = ("input_ids", "attention_mask", "completion_mask")
_TARGETS = ("target_rows", "target_ids", "target_sequences")


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
        padded: ``input_ids``, ``attention_mask`` and ``completion_mask`` [N, T]; of pairs chosen
            above rejected.
        multiple: the row's length becomes a multiple of it.

    Returns:
        ``completion_tokens`` [N] int64, trained tokens of each sequence (the first entry,
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


OTHERS = "KL_"
"""Before TRL's keys of the answers that KTO estimates a divergence by."""


class PackAnswers(PackPairs):
    """A collator over TRL's for KTO, whose cut at ``max_length`` stays."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """``label`` [B], then what `pack_pairs` gives of the answers, and under `OTHERS` of the
        others."""
        padded = self.collate(*args, **kwargs)
        found = {"label": padded["label"]} | pack_pairs(padded, self.multiple)
        others = {key: padded[OTHERS + key] for key in _PADDED}
        packed = pack_pairs(others, self.multiple)
        return found | {OTHERS + key: value for key, value in packed.items()}


def asked_of(batch: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Arguments of `LogProbabilities.forward` for a packed row of a batch."""
    return {key: batch[prefix + key] for key in ("input_ids", "position_ids", *_TARGETS)} | {
        "sequences": len(batch[prefix + "completion_tokens"])
    }


def end_to_end(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two rows of `asked_of` as one, the sequences of the second after those of the first."""
    shift = {
        "target_rows": one["input_ids"].shape[1], "target_ids": 0,
        "target_sequences": one["sequences"],
    }  # fmt: skip
    rows = {key: torch.cat([one[key], other[key]], 1) for key in ("input_ids", "position_ids")}
    targets = {key: torch.cat([one[key], other[key] + by]) for key, by in shift.items()}
    return rows | targets | {"sequences": one["sequences"] + other["sequences"]}
