"""Falcon's own classes, with packed sequences kept apart and the fused path where it can run.

The classes are put on a loaded model by `install`, so that parameters, names and checkpoints stay
those of transformers. Whatever the fused path can't do runs in transformers' own code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import FalconForCausalLM
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.falcon import modeling_falcon
from transformers.models.falcon.modeling_falcon import FalconAttention

from plugins.falcon.block import FalconBlock, read_block
from plugins.falcon.module_attention import (
    PackedAttention,
    extents,
    install_packed_attention,
)
from plugins.fused.backend import Backend
from plugins.fused.backends import Choice
from plugins.fused.causal_lm import FusedLoss, plain_class, put_before
from plugins.fused.gathered import run_inside
from plugins.fused.memory import Kept
from plugins.fused.packed import as_configured, find_sequences
from plugins.fused.projection import NotFusable
from plugins.fused.run import FusedState, embedded, run_blocks
from recipes.runner.core.fallbacks import note_fallback


class FalconArchitecture:
    """Falcon as `plugins.fused.run` sees it."""

    name = "falcon"

    def layers(self, decoder: Any) -> nn.ModuleList:
        """The decoder's blocks."""
        return decoder.h

    def linears(self, layer: Any) -> tuple[nn.Module, ...]:
        """A block's linear layers, under PEFT or not."""
        attention, mlp = layer.self_attention, layer.mlp
        return attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h

    def norms(self, layer: Any) -> tuple[nn.Module, ...]:
        """A block's norms, one or two."""
        return tuple(module for module in layer.children() if isinstance(module, nn.LayerNorm))

    def read_block(
        self, layer: Any, layer_idx: int, keep: bool, training: bool, backend: Backend
    ) -> FalconBlock:
        """A block as it stands; raises `NotFusable`."""
        return read_block(layer, layer_idx, keep, training, backend)

    def embed(self, decoder: Any, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, T, hidden] for ids [B, T]."""
        return decoder.word_embeddings(input_ids)

    def final_norm(self, decoder: Any, hidden: torch.Tensor) -> torch.Tensor:
        """LayerNorm of [T, hidden], in its dtype."""
        norm, dtype = decoder.ln_f, hidden.dtype
        if norm.weight.dtype == dtype:
            return norm(hidden)  # the module, around which ZeRO-3 gathers its weights
        weight, bias = norm.weight.to(dtype), norm.bias.to(dtype)
        return F.layer_norm(hidden, norm.normalized_shape, weight, bias, norm.eps)

    def bytes_kept(self, decoder: Any, tokens: int) -> Kept:
        """Of qkv, the attention's output and the input of GELU; x and that output may wait."""
        qkv = decoder.h[0].self_attention.query_key_value.out_features
        beside = qkv + self.ffn(decoder)
        return Kept(tokens * (beside + decoder.config.hidden_size) * 2, tokens * beside * 2)

    def ffn(self, decoder: Any) -> int:
        """Of the input of GELU."""
        return int(decoder.config.ffn_hidden_size)


FALCON = FalconArchitecture()


class PackedDecoder:
    """Goes before `FalconModel`: its packed sequences don't attend to one another."""

    fused: FusedState

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
        """As `FalconModel.forward`; sequences come from position ids and attention mask."""
        model: Any = self
        choice = self.fused.choice
        tokens = input_ids if input_ids is not None else inputs_embeds
        cached = past_key_values is not None and past_key_values.get_seq_length() > 0
        flat_mask = attention_mask is None or attention_mask.ndim == 2
        if tokens is not None and not cached and flat_mask:
            sequences = find_sequences(
                tokens.shape[0], tokens.shape[1], position_ids, attention_mask, tokens.device
            )
            caching = model.config.use_cache if use_cache is None else use_cache
            if output_attentions is None:
                output_attentions = model.config.output_attentions
            asked = (past_key_values is not None, output_attentions, output_hidden_states)
            plain = any(asked) or (caching and not model.training) or return_dict is False
            if choice.block and not plain:
                embeds = inputs_embeds
                if embeds is None:
                    embeds = embedded(FALCON, model, tokens)
                try:
                    hidden = run_blocks(FALCON, model, self.fused, embeds, sequences, position_ids)
                except NotFusable as reason:
                    note_fallback("falcon.block", "the modules", str(reason))
                else:
                    return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)  # type: ignore[arg-type]
            knows = isinstance(model.h[0].self_attention, PackedAttention)
            if choice.attention == "grouped" and knows and not plain and not model.use_alibi:
                attention_mask, use_cache = extents(sequences), False
            elif sequences.packed:
                attention_mask = as_configured(
                    sequences.mask(), model.config._attn_implementation, model.ln_f.weight.dtype
                )
        return super().forward(  # type: ignore[misc]
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


def find_falcon(model: nn.Module) -> FalconForCausalLM | None:
    """The Falcon inside ``model``, which may be wrapped by PEFT; None when there is none."""
    return next((m for m in model.modules() if isinstance(m, FalconForCausalLM)), None)


def why_not_fused(falcon: Any) -> str:
    """Why some block of this model can't be fused; empty when all can."""
    try:
        for layer_idx, layer in enumerate(falcon.transformer.h):
            read_block(layer, layer_idx, True, training=True, backend=Backend())
    except NotFusable as reason:
        return str(reason)
    return ""


def install(model: nn.Module, choice: Choice | None = None) -> None:
    """Keep packed sequences apart in ``model``, and run as ``choice`` says, from now on."""
    falcon: Any = find_falcon(model)
    if falcon is None:
        return
    choice = choice or Choice()
    _leave_flash_attention_2(falcon, said=not choice.block)
    put_before(PackedDecoder, falcon.transformer)
    if choice.gathered:
        run_inside(falcon.transformer.h, falcon.lm_head)
    frozen_head = not falcon.lm_head.weight.requires_grad
    falcon.transformer.fused = FusedState(choice, fused_loss=choice.loss and frozen_head)
    if choice.attention == "grouped":
        install_packed_attention(falcon)
    if choice.loss:
        put_before(FusedLoss, falcon)
    else:
        falcon.__class__ = plain_class(falcon)
    falcon.logits_in_eval = False


def _leave_flash_attention_2(falcon: Any, said: bool) -> None:
    """Let the modules take a mask: Falcon's flash_attention_2 fails over one, and knows no packed
    sequences without."""
    flash = getattr(modeling_falcon, "FalconFlashAttention2", None)
    found = [module for module in falcon.modules() if flash and type(module) is flash]
    for module in found:
        module.__class__ = FalconAttention
    if found:
        falcon.config._attn_implementation = "sdpa"
        if said:
            reason = "packed conversations are not kept apart by flash_attention_2"
            note_fallback("falcon.attention", "SDPA with a mask", reason)
