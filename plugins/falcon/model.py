"""Falcon's own classes, with documents kept apart and the fast path where it can run.

The classes are put on a loaded model by `install`, so that parameters, names and checkpoints stay
those of transformers. Whatever the fast path can't do runs in transformers' own code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import FalconForCausalLM, FalconModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    CausalLMOutputWithCrossAttentions,
)

from plugins.falcon.block import Batch, read_block, run_block
from plugins.falcon.module_attention import (
    DocumentAttention,
    extents,
    install_document_attention,
)
from plugins.fused.backends import Paths
from plugins.fused.loss import find_target_rows, fused_cross_entropy
from plugins.fused.memory import blocks_that_fit, bytes_kept_per_block
from plugins.fused.packed import Documents, find_documents
from plugins.fused.projection import NotFusable
from recipes.runner.core.fallbacks import note_fallback


class PackedFalconModel(FalconModel):
    """`FalconModel` whose packed documents don't attend to one another."""

    paths: Paths
    fitting: dict[int, int]
    """How many blocks keep their activations, by the tokens of a batch."""

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        past_key_values: Any = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `FalconModel.forward`; documents come from ``position_ids`` and ``attention_mask``."""
        tokens = input_ids if input_ids is not None else inputs_embeds
        cached = past_key_values is not None and past_key_values.get_seq_length() > 0
        flat_mask = attention_mask is None or attention_mask.ndim == 2
        if tokens is not None and not cached and flat_mask:
            documents = find_documents(
                tokens.shape[0], tokens.shape[1], position_ids, attention_mask, tokens.device
            )
            caching = self.config.use_cache if use_cache is None else use_cache
            if output_attentions is None:
                output_attentions = self.config.output_attentions
            asked = (past_key_values is not None, output_attentions, output_hidden_states)
            plain = any(asked) or (caching and not self.training) or return_dict is False
            if self.paths.block and not plain:
                embeds = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
                try:
                    hidden = self._run(embeds, documents, position_ids)
                except NotFusable as reason:
                    note_fallback("falcon.block", "the modules", str(reason))
                else:
                    return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)  # type: ignore[arg-type]
            knows = isinstance(self.h[0].self_attention, DocumentAttention)
            if self.paths.attention == "shared" and knows and not plain and not self.use_alibi:
                attention_mask, use_cache = extents(documents), False
            elif documents.packed:
                attention_mask = self._mask_for_attention(documents.mask())
        return super().forward(
            input_ids=input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
            **kwargs,
        )

    def _kept_blocks(self, tokens: int) -> int:
        """How many blocks keep their activations for a batch of ``tokens``."""
        blocks = len(self.h)
        if self.paths.memory != "auto" or not torch.is_grad_enabled():
            return 0 if self.paths.memory == "low" else blocks
        if tokens not in self.fitting:
            config: Any = self.config
            attention: Any = self.h[0].self_attention
            per_block = bytes_kept_per_block(
                tokens, config.hidden_size, attention.query_key_value.out_features,
                config.ffn_hidden_size, 2,
            )  # fmt: skip
            fits = blocks_that_fit(self, tokens, blocks, per_block, config.ffn_hidden_size)
            self.fitting[tokens] = fits
        return self.fitting[tokens]

    def _run(
        self, embeds: torch.Tensor, documents: Documents, position_ids: torch.Tensor | None
    ) -> torch.Tensor:
        """Hidden states [B, T, hidden] after the last norm, through the fused blocks.

        Raises:
            NotFusable: a block can't be fused.
        """
        batch_size, length, width = embeds.shape
        device = embeds.device
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else embeds.dtype
        if position_ids is None:
            position_ids = torch.arange(length, device=device)[None]
        like = torch.empty(0, dtype=torch.float32, device=device)
        cos, sin = (
            table[..., : table.shape[-1] // 2].expand(batch_size, -1, -1).flatten(0, 1).contiguous()
            for table in self.rotary_emb(like, position_ids.to(device))
        )
        seed = int(torch.randint(2**31, (1,)).item()) if self.training else 0
        batch = Batch(documents, cos, sin, seed, self.paths.attention, self.paths.triton)
        hidden = embeds.to(dtype).reshape(-1, width)
        keep = self._kept_blocks(documents.begins.numel())
        for place, layer in enumerate(self.h):
            # Read one by one, so that the GPU works on the first while the others are read.
            block = read_block(layer, place, place < keep, self.training, self.paths.triton)
            hidden = run_block(block, batch, hidden)
        norm = self.ln_f
        with torch.autocast(device.type, enabled=False):
            weight, bias = norm.weight.to(dtype), norm.bias.to(dtype)
            hidden = F.layer_norm(hidden, norm.normalized_shape, weight, bias, norm.eps)
        return hidden.view(batch_size, length, width)

    def _mask_for_attention(self, allowed: torch.Tensor) -> torch.Tensor:
        """The mask as the configured attention takes it: bool for SDPA, added in eager."""
        if self.config._attn_implementation == "sdpa":
            return allowed
        dtype = self.ln_f.weight.dtype
        bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return bias.masked_fill_(~allowed, torch.finfo(dtype).min)


class FusedLossFalcon(FalconForCausalLM):
    """`FalconForCausalLM` that gives a loss without logits where nobody wants the logits."""

    logits_in_eval: bool

    def forward(self, *args: Any, labels: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """As `FalconForCausalLM.forward`; with labels the fused path returns no logits."""
        head = self.lm_head
        target_rows = kwargs.pop("target_rows", None)
        asked = any(
            kwargs.get(key)
            for key in ("logits_to_keep", "output_attentions", "output_hidden_states")
        )
        other = "shift_labels" in kwargs or kwargs.get("return_dict") is False
        wants_logits = (
            labels is None or asked or other or (self.logits_in_eval and not self.training)
        )
        if (
            labels is None
            or wants_logits
            or type(head) is not nn.Linear
            or head.weight.requires_grad
        ):
            return super().forward(*args, labels=labels, **kwargs)
        num_items = kwargs.pop("num_items_in_batch", None)
        kwargs.pop("logits_to_keep", None)
        if target_rows is None:
            target_rows = find_target_rows(labels)
        hidden = self.transformer(*args, **kwargs | {"use_cache": False}).last_hidden_state
        with torch.autocast(hidden.device.type, enabled=False):
            rows = hidden.to(head.weight.dtype)
            loss = fused_cross_entropy(rows, head.weight, labels, target_rows, num_items)
        return CausalLMOutputWithCrossAttentions(loss=loss)  # type: ignore[arg-type]


def find_falcon(model: nn.Module) -> FalconForCausalLM | None:
    """The Falcon inside ``model``, which may be wrapped by PEFT; None when there is none."""
    return next((m for m in model.modules() if isinstance(m, FalconForCausalLM)), None)


def why_not_fused(falcon: Any) -> str:
    """Why some block of this model can't be fused; empty when all can."""
    try:
        for place, layer in enumerate(falcon.transformer.h):
            read_block(layer, place, True, training=True)
    except NotFusable as reason:
        return str(reason)
    return ""


def install(model: nn.Module, paths: Paths | None = None) -> None:
    """Keep packed documents apart in ``model``, and take the fast ``paths``, from now on."""
    falcon: Any = find_falcon(model)
    if falcon is None:
        return
    paths = paths or Paths()
    falcon.transformer.__class__ = PackedFalconModel
    falcon.transformer.paths = paths
    falcon.transformer.fitting = {}
    if paths.attention == "shared":
        install_document_attention(falcon)
    falcon.__class__ = FusedLossFalcon if paths.loss else FalconForCausalLM
    falcon.logits_in_eval = False
