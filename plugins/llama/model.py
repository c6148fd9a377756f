"""Decoders of Llama's kind that run through the fused blocks where they can.

As with Falcon, classes are put on a loaded model by `install`; whatever the fused path can't do
runs in transformers' own code, packed sequences kept apart there too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import (
    LlamaForCausalLM,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
)
from transformers.modeling_outputs import BaseModelOutputWithPast

from plugins.fused import cpu_attention
from plugins.fused.backend import Backend
from plugins.fused.backends import Choice
from plugins.fused.causal_lm import FusedLoss, plain_class, put_before
from plugins.fused.gathered import run_inside
from plugins.fused.memory import Kept
from plugins.fused.packed import PackedSequences, as_configured, find_sequences
from plugins.fused.projection import NotFusable
from plugins.fused.run import FusedState, embedded, run_blocks
from plugins.llama.block import LlamaBlock, read_block
from recipes.runner.core.fallbacks import note_fallback

KNOWN = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")


class LlamaArchitecture:
    """Llama and its kind as `plugins.fused.run` sees them."""

    name = "llama"

    def layers(self, decoder: Any) -> nn.ModuleList:
        """The decoder's blocks."""
        return decoder.layers

    def linears(self, layer: Any) -> tuple[nn.Module, ...]:
        """A block's linear layers, under PEFT or not."""
        attention, mlp = layer.self_attn, layer.mlp
        return (
            attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
            mlp.gate_proj, mlp.up_proj, mlp.down_proj,
        )  # fmt: skip

    def norms(self, layer: Any) -> tuple[nn.Module, ...]:
        """A block's norms."""
        return layer.input_layernorm, layer.post_attention_layernorm

    def read_block(
        self, layer: Any, layer_idx: int, keep: bool, training: bool, backend: Backend
    ) -> LlamaBlock:
        """A block as it stands; raises `NotFusable`."""
        return read_block(layer, layer_idx, keep, training, backend)

    def embed(self, decoder: Any, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, T, hidden] for ids [B, T]."""
        return decoder.embed_tokens(input_ids)

    def final_norm(self, decoder: Any, hidden: torch.Tensor) -> torch.Tensor:
        """RMSNorm of [T, hidden], in its dtype."""
        return decoder.norm(hidden).to(hidden.dtype)

    def bytes_kept(self, decoder: Any, tokens: int) -> Kept:
        """Of q, k, v, the attention's output, h, gate and up; x, h and that output may wait."""
        attention, hidden = decoder.layers[0].self_attn, decoder.config.hidden_size
        queries, keys = attention.q_proj.out_features, attention.k_proj.out_features
        beside = queries + 2 * keys + self.ffn(decoder)
        if hasattr(attention, "q_norm"):
            beside += queries + keys
        return Kept(tokens * (beside + queries + hidden) * 2, tokens * beside * 2)

    def ffn(self, decoder: Any) -> int:
        """Of gate and up."""
        mlp = decoder.layers[0].mlp
        return mlp.gate_proj.out_features + mlp.up_proj.out_features


LLAMA = LlamaArchitecture()


class PackedDecoder:
    """Goes before a decoder's class: fused blocks, and packed sequences kept apart without them."""

    fused: FusedState

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As the decoder's; sequences come from position ids and attention mask."""
        model: Any = self
        config, choice = model.config, self.fused.choice
        tokens = input_ids if input_ids is not None else inputs_embeds
        flat_mask = attention_mask is None or getattr(attention_mask, "ndim", 0) == 2
        asked = any(
            kwargs.get(key, getattr(config, key, False))
            for key in ("output_attentions", "output_hidden_states")
        )
        if tokens is not None and past_key_values is None and flat_mask:
            sequences = find_sequences(
                tokens.shape[0], tokens.shape[1], position_ids, attention_mask, tokens.device
            )
            caching = config.use_cache if use_cache is None else use_cache
            can = not asked and not (caching and not model.training)
            if choice.block and can:
                embeds = inputs_embeds
                if embeds is None:
                    embeds = embedded(LLAMA, model, tokens)
                try:
                    _refuse_window(model, tokens.shape[1])
                    hidden = run_blocks(LLAMA, model, self.fused, embeds, sequences, position_ids)
                except NotFusable as reason:
                    note_fallback("llama.block", "the modules", str(reason))
                else:
                    return BaseModelOutputWithPast(last_hidden_state=hidden)  # type: ignore[arg-type]
            if choice.attention == "padded" and can and _attends_padded(model, sequences):
                with _attention_of(config, cpu_attention.NAME):
                    return super().forward(  # type: ignore[misc]
                        input_ids=input_ids, position_ids=position_ids, inputs_embeds=inputs_embeds,
                        use_cache=False, packed_sequences=sequences, **kwargs,
                    )  # fmt: skip
            if config._attn_implementation in ("sdpa", "eager") and sequences.packed:
                attention_mask = as_configured(
                    sequences.mask(), model.config._attn_implementation, model.norm.weight.dtype
                )
        return super().forward(  # type: ignore[misc]
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )


def _attends_padded(decoder: Any, sequences: PackedSequences) -> bool:
    """Whether a CPU's own attention does what the modules do, and with less work than a mask.

    What checkpointing makes again in the backward would find another attention configured.
    """
    if decoder.training and (
        getattr(decoder, "gradient_checkpointing", False) or decoder.config.attention_dropout
    ):
        return False
    rows, length = sequences.begins.shape
    if (sequences.cu_seqlens.numel() - 1) * sequences.longest**2 > rows * length**2:
        return False
    try:
        _refuse_window(decoder, length)
    except NotFusable:
        return False
    return True


@contextlib.contextmanager
def _attention_of(config: Any, name: str) -> Iterator[None]:
    """Attention by the function of this name, with no mask but what the function makes itself."""
    configured = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = configured


def _refuse_window(decoder: Any, length: int) -> None:
    """Raise `NotFusable` where a sliding window cuts rows of ``length`` tokens."""
    windows = [getattr(layer.self_attn, "sliding_window", None) for layer in decoder.layers]
    if decoder.config.model_type == "mistral":
        windows = [decoder.config.sliding_window]
    if any(window and length > window for window in windows):
        raise NotFusable("rows are longer than the sliding window")


def find_llama(model: nn.Module) -> PreTrainedModel | None:
    """The model of Llama's kind inside ``model``, which PEFT may wrap; None when there is none."""
    return next((m for m in model.modules() if isinstance(m, KNOWN)), None)


def why_not_fused(llama: Any) -> str:
    """Why some block of this model can't be fused; empty when all can."""
    try:
        for layer_idx, layer in enumerate(llama.model.layers):
            read_block(layer, layer_idx, True, training=True, backend=Backend())
        head_dim = llama.model.layers[0].self_attn.head_dim
        position = torch.zeros(1, 1, dtype=torch.long, device=llama.lm_head.weight.device)
        table, _ = llama.model.rotary_emb(llama.lm_head.weight.new_empty(0), position)
        if table.shape[-1] != head_dim:
            raise NotFusable("only a part of each head is rotated")
    except NotFusable as reason:
        return str(reason)
    return ""


def install(model: nn.Module, choice: Choice | None = None) -> None:
    """Keep packed sequences apart in ``model``, and run as ``choice`` says, from now on."""
    llama: Any = find_llama(model)
    if llama is None:
        return
    choice = choice or Choice()
    put_before(PackedDecoder, llama.model)
    if choice.gathered:
        run_inside(llama.model.layers, llama.lm_head)
    frozen_head = not llama.lm_head.weight.requires_grad
    llama.model.fused = FusedState(choice, fused_loss=choice.loss and frozen_head)
    if choice.loss:
        put_before(FusedLoss, llama)
    else:
        llama.__class__ = plain_class(llama)
    llama.logits_in_eval = False
