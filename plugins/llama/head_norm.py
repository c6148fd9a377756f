"""Qwen3's norms of queries and keys, each over a head."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from plugins.fused.backend import Backend, Heads

RawHeads = tuple[torch.Tensor, ...]
"""Queries [T * queries, d] and keys [T * keys, d] before the norm; empty where there is none."""


class HeadNorms(NamedTuple):
    """The norms, of weight [d]."""

    query: nn.Module
    key: nn.Module

    @staticmethod
    def of(attention: Any) -> HeadNorms | None:
        """An attention module's; None where it has none."""
        query, key = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        return HeadNorms(query, key) if query is not None and key is not None else None

    @staticmethod
    def part(norms: HeadNorms | None, saved: list[torch.Tensor]) -> tuple[RawHeads, list[Any]]:
        """What `apply_` gave, from the front of saved tensors, and the others."""
        count = 2 if norms else 0
        return tuple(saved[:count]), saved[count:]

    def apply_(self, qkv: torch.Tensor, heads: Heads, backend: Backend) -> RawHeads:
        """Normalise queries and keys of qkv [T, heads, d] in place; what `backward` needs."""
        raw = []
        for part, layer in zip(heads.split(qkv)[:2], self, strict=True):
            rows = part.reshape(-1, part.shape[-1])
            normed, _ = backend.norm(rows, layer, 0)
            part.copy_(normed.view_as(part))
            raw.append(rows)
        return tuple(raw)

    def backward(
        self, dqkv: torch.Tensor, raw: RawHeads, heads: Heads, backend: Backend
    ) -> torch.Tensor:
        """dqkv [T, heads, d] back through the norms, in its memory."""
        for part, rows, layer in zip(heads.split(dqkv)[:2], raw, self, strict=True):
            _, statistics = backend.norm(rows, layer, 0)
            grad = part.reshape(-1, part.shape[-1])
            through = backend.norm_backward(
                grad, rows, layer, statistics, torch.zeros_like(rows)
            )  # fmt: skip
            part.copy_(through.view_as(part))
        return dqkv
