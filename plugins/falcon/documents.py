"""Where the documents of a batch begin and end.

Axolotl packs several conversations into one row: ``position_ids`` start again at 0 with each, and
``attention_mask`` holds 1, 2, 3 ... (0 for padding). Falcon in transformers reads neither, so
packed conversations attend to one another. Everything here serves to keep them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Documents:
    """The documents of a batch of B rows of T tokens, rows laid end to end.

    Attributes:
        index: [B, T] int64, the number of each token's document, counted from 1 over all rows;
            each stretch of padding is a document of its own.
        cu_seqlens: [N + 1] int32, first token of each document, and B * T last.
        longest: tokens of the longest document.
        packed: whether any row holds a document boundary that is not just padding.
    """

    index: torch.Tensor
    cu_seqlens: torch.Tensor
    longest: int
    packed: bool

    @cached_property
    def starts(self) -> torch.Tensor:
        """[B * T] int32, the first token of each token's document."""
        return self.cu_seqlens[self.index.flatten() - 1]

    @cached_property
    def ends(self) -> torch.Tensor:
        """[B * T] int32, the token after the last of each token's document."""
        return self.cu_seqlens[self.index.flatten()]

    def mask(self) -> torch.Tensor:
        """[B, 1, T, T] bool: True where a query (third axis) may attend to a key (fourth)."""
        same = self.index[:, None, :, None] == self.index[:, None, None, :]
        return same.tril()


def find_documents(
    batch: int,
    length: int,
    position_ids: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    device: torch.device,
) -> Documents:
    """Find the documents from position ids, attention mask, both or neither.

    A document begins with a row, where a position does not follow on the one before, and where
    the value of the mask changes.

    Args:
        batch: B.
        length: T.
        position_ids: [B, T] or [1, T] integers, or None.
        attention_mask: [B, T], 0 for padding, otherwise the document's number or 1; or None.
        device: where the result lives.
    """
    starts = torch.zeros(batch, length, dtype=torch.bool, device=device)
    starts[:, 0] = True
    breaks = starts
    if position_ids is not None:
        positions = position_ids.to(device).expand(batch, length)
        breaks = starts.clone()
        breaks[:, 1:] |= positions[:, 1:] != positions[:, :-1] + 1
    real = torch.ones_like(starts)
    if attention_mask is not None:
        mask = attention_mask.to(device).long()
        real = mask != 0
        breaks = breaks.clone()
        breaks[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    index = breaks.flatten().long().cumsum(0).view(batch, length)
    first = breaks.flatten().nonzero().flatten()
    end = torch.full((1,), batch * length, dtype=first.dtype, device=device)
    cu_seqlens = torch.cat([first, end])
    inner = breaks[:, 1:] & real[:, 1:] & real[:, :-1]
    longest, packed = torch.stack([cu_seqlens.diff().max(), inner.any().long()]).tolist()
    return Documents(index, cu_seqlens.int(), int(longest), bool(packed))
