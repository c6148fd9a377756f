"""Falcon's own classes, with documents kept apart and the fast path where it can run.

The classes are put on a loaded model by `install`, so that parameters, names and checkpoints stay
those of transformers. Whatever the fast path can't do runs in transformers' own code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import FalconForCausalLM, FalconModel

from plugins.falcon.documents import find_documents


class PackedFalconModel(FalconModel):
    """`FalconModel` whose packed documents don't attend to one another."""

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        past_key_values: Any = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `FalconModel.forward`; documents come from ``position_ids`` and ``attention_mask``."""
        tokens = input_ids if input_ids is not None else inputs_embeds
        cached = past_key_values is not None and past_key_values.get_seq_length() > 0
        if (
            tokens is not None
            and not cached
            and (attention_mask is None or attention_mask.ndim == 2)
        ):
            documents = find_documents(
                tokens.shape[0], tokens.shape[1], position_ids, attention_mask, tokens.device
            )
            if documents.packed:
                attention_mask = self._mask_for_attention(documents.mask())
        return super().forward(
            input_ids=input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )

    def _mask_for_attention(self, allowed: torch.Tensor) -> torch.Tensor:
        """The mask as the configured attention takes it: bool for SDPA, added in eager."""
        if self.config._attn_implementation == "sdpa":
            return allowed
        dtype = self.ln_f.weight.dtype
        bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return bias.masked_fill_(~allowed, torch.finfo(dtype).min)


def find_falcon(model: nn.Module) -> FalconForCausalLM | None:
    """The Falcon inside ``model``, which may be wrapped by PEFT; None when there is none."""
    return next((m for m in model.modules() if isinstance(m, FalconForCausalLM)), None)


def install(model: nn.Module) -> None:
    """Keep packed documents apart in ``model``, from now on."""
    falcon = find_falcon(model)
    if falcon is not None:
        falcon.transformer.__class__ = PackedFalconModel
