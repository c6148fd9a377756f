"""BERT's encoder (Devlin et al. 2019) as it reads a few short texts fastest on a CPU.

Of the library's time it takes two thirds to three quarters, where a text has 20 to 50 tokens:
queries, keys and values are one product, and only real tokens are multiplied, so that padding
stands in attention alone. It computes the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention


class Bert:
    """The weights of a model, for reading alone.

    Args:
        model: a `BertModel` of transformers; it is not kept.
        dtype: what is multiplied in.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        config, found = model.config, dict(model.named_parameters())
        weights = {name: p.detach().to(dtype) for name, p in found.items()}
        self._heads, self._epsilon = config.num_attention_heads, config.layer_norm_eps
        self._words, self._places, self._types = (
            weights[f"embeddings.{kind}_embeddings.weight"]
            for kind in ("word", "position", "token_type")
        )
        self._first_norm = _pair(weights, "embeddings.LayerNorm")
        self._layers = [
            _Layer(weights, f"encoder.layer.{n}.") for n in range(config.num_hidden_layers)
        ]

    def __call__(
        self, input_ids: torch.Tensor, token_type_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """The last layer's vectors: float32 (rows, tokens, width); where a row has ended, zeros.

        Args:
            input_ids: int64, (rows, tokens).
            token_type_ids: int64, (rows, tokens).
            attention_mask: int64, (rows, tokens): 1 for real tokens.
        """
        rows, tokens = input_ids.shape
        real = attention_mask.bool()
        at = real.flatten().nonzero().squeeze(1)
        full = len(at) == rows * tokens
        places = torch.arange(tokens).repeat(rows)[at]
        x = self._words[input_ids.flatten()[at]] + self._types[token_type_ids.flatten()[at]]
        x = self._normed(x + self._places[places], self._first_norm)
        for layer in self._layers:
            x = self._through(layer, x, rows, tokens, None if full else (at, real[:, None, None]))
        spread = x.new_zeros(rows * tokens, x.shape[1]).index_copy_(0, at, x)
        return spread.view(rows, tokens, -1).float()

    def _through(
        self,
        layer: _Layer,
        x: torch.Tensor,
        rows: int,
        tokens: int,
        padding: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> torch.Tensor:
        width = x.shape[1]
        qkv = linear(x, *layer.qkv)
        if padding:
            qkv = qkv.new_zeros(rows * tokens, 3 * width).index_copy_(0, padding[0], qkv)
        q, k, v = qkv.view(rows, tokens, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(q, k, v, attn_mask=padding[1] if padding else None)
        read = read.transpose(1, 2).reshape(rows * tokens, width)
        if padding:
            read = read[padding[0]]
        x = self._normed(x + linear(read, *layer.out), layer.norm)
        inner = gelu(linear(x, *layer.up))
        return self._normed(x + linear(inner, *layer.down), layer.last_norm)

    def _normed(self, x: torch.Tensor, by: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return layer_norm(x, (x.shape[1],), *by, self._epsilon)


class _Layer:
    """(weight, bias) of one layer's products and norms."""

    def __init__(self, weights: dict[str, torch.Tensor], name: str) -> None:
        attention = f"{name}attention.self."
        three = [_pair(weights, attention + kind) for kind in ("query", "key", "value")]
        self.qkv = torch.cat([w for w, _ in three]), torch.cat([b for _, b in three])
        self.out = _pair(weights, f"{name}attention.output.dense")
        self.norm = _pair(weights, f"{name}attention.output.LayerNorm")
        self.up = _pair(weights, f"{name}intermediate.dense")
        self.down = _pair(weights, f"{name}output.dense")
        self.last_norm = _pair(weights, f"{name}output.LayerNorm")


def _pair(weights: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]
