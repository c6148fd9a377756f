"""Where the packed sequences of a batch begin and end.

Axolotl packs several conversations into one row: ``position_ids`` start again at 0 with each, and
``attention_mask`` holds 1, 2, 3 ... (0 for padding). Falcon in transformers reads neither, so
packed conversations attend to one another. Everything here serves to keep them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class PackedSequences:
    """The sequences of a batch of B rows of T tokens, rows laid end to end.

    What a program needs as a number, `cu_seqlens`, `longest` and `packed`, waits for the GPU; the
    rest does not. Each is found when first asked for.

    Attributes:
        begins: [B, T] bool, True at the first token of a sequence; each stretch of padding is a
            sequence of its own.
        real: [B, T] bool, False for padding.
    """

    begins: torch.Tensor
    real: torch.Tensor

    @cached_property
    def index(self) -> torch.Tensor:
        """[B, T] int64, the number of each token's sequence, counted from 1 over all rows."""
        return self.begins.flatten().long().cumsum(0).view_as(self.begins)

    @cached_property
    def starts(self) -> torch.Tensor:
        """[B * T] int32, the first token of each token's sequence."""
        begins = self.begins.flatten()
        place = torch.arange(begins.numel(), dtype=torch.int32, device=begins.device)
        return torch.where(begins, place, 0).cummax(0).values

    @cached_property
    def ends(self) -> torch.Tensor:
        """[B * T] int32, the token after the last of each token's sequence."""
        begins = self.begins.flatten()
        total = begins.numel()
        place = torch.arange(total, dtype=torch.int32, device=begins.device)
        following = torch.where(begins, place, total).flip(0).cummin(0).values.flip(0)
        return torch.cat([following[1:], torch.full_like(following[:1], total)])

    @cached_property
    def cu_seqlens(self) -> torch.Tensor:
        """[N + 1] int32, first token of each of the N sequences, and B * T last."""
        first = self.begins.flatten().nonzero().flatten()
        return torch.cat([first, first.new_full((1,), self.begins.numel())]).int()

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(self.cu_seqlens.diff().max())

    @cached_property
    def places(self) -> torch.Tensor:
        """[B * T] int64, each token's place where sequences lie side by side, `longest` apart."""
        number = self.index.flatten() - 1
        within = torch.arange(number.numel(), device=number.device) - self.starts
        return number * self.longest + within

    @cached_property
    def side_by_side(self) -> torch.Tensor:
        """[N * longest] int64, the token at each of these places; the first where `filled_up`."""
        spread = self.places.new_zeros((self.cu_seqlens.numel() - 1) * self.longest)
        spread[self.places] = torch.arange(self.begins.numel(), device=spread.device)
        return spread

    @cached_property
    def filled_up(self) -> torch.Tensor:
        """[N * longest] bool, True at places after the end of a shorter sequence."""
        filled = torch.ones_like(self.side_by_side, dtype=torch.bool)
        filled[self.places] = False
        return filled

    @cached_property
    def packed(self) -> bool:
        """Whether any row holds a sequence boundary that is not just padding."""
        return bool((self.begins[:, 1:] & self.real[:, 1:] & self.real[:, :-1]).any())

    def mask(self) -> torch.Tensor:
        """[B, 1, T, T] bool: True where a query (third axis) may attend to a key (fourth)."""
        same = self.index[:, None, :, None] == self.index[:, None, None, :]
        return same.tril()


def find_sequences(
    batch: int,
    length: int,
    position_ids: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    device: torch.device,
) -> PackedSequences:
    """Find the sequences from position ids, attention mask, both or neither.

    A sequence begins with a row, where a position does not follow on the one before, and where
    the value of the mask changes.

    Args:
        batch: B.
        length: T.
        position_ids: [B, T] or [1, T] integers, or None.
        attention_mask: [B, T], 0 for padding, otherwise the sequence's number or 1; or None.
        device: where the result lives.
    """
    begins = torch.zeros(batch, length, dtype=torch.bool, device=device)
    begins[:, 0] = True
    real = torch.ones_like(begins)
    if position_ids is not None:
        positions = position_ids.to(device).expand(batch, length)
        begins[:, 1:] |= positions[:, 1:] != positions[:, :-1] + 1
    if attention_mask is not None:
        mask = attention_mask.to(device).long()
        real = mask != 0
        begins[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return PackedSequences(begins, real)


def as_configured(allowed: torch.Tensor, attention: str, dtype: torch.dtype) -> torch.Tensor:
    """The mask as the modules' attention takes it: bool for SDPA, added in eager.

    Args:
        allowed: True where a query may look at a key.
        attention: of the model's configuration, ``sdpa`` or ``eager``.
        dtype: of the scores that it is added to.
    """
    if attention == "sdpa":
        return allowed
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return bias.masked_fill_(~allowed, torch.finfo(dtype).min)
