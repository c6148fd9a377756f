"""BERT's encoder (Devlin et al. 2019) as it reads a few short texts fastest on a CPU.

Queries, keys and values are one product, only real tokens are multiplied, and each text attends to
itself alone: there is no padding, and it computes what the library does. Where the CPU multiplies
whole numbers four at a time (VNNI), the products of the blocks can be of 8 bits: a quarter of
float32's time. A weight's row and a token's vector have a scale each, so that a text reads the same
to the last bit whatever is in the batch beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

_MOST = 127  # of 8 bits
_LEAST = 1e-12  # the scale of what is all zeros
_AT_ONCE = 128  # tokens whose vectors stay in a core's cache


class Bert:
    """The weights of a model, for reading alone.

    Args:
        model: a `BertModel` of transformers; it is not kept.
        eight_bits: whether the blocks' products are of whole numbers; all else is float32.
    """

    def __init__(self, model: Any, eight_bits: bool) -> None:
        config, product = model.config, InEightBits if eight_bits else Plain
        weights = {name: p.detach().float() for name, p in model.named_parameters()}
        self._heads, self._epsilon = config.num_attention_heads, config.layer_norm_eps
        self._words, self._places, self._types = (
            weights[f"embeddings.{kind}_embeddings.weight"]
            for kind in ("word", "position", "token_type")
        )
        self._first_norm = _pair(weights, "embeddings.LayerNorm")
        self._layers = [
            _Layer(weights, f"encoder.layer.{n}.", product) for n in range(config.num_hidden_layers)
        ]

    def __len__(self) -> int:
        """How many layers there are."""
        return len(self._layers)

    def __call__(
        self, input_ids: torch.Tensor, token_type_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """The last layer's vectors, as `at` gives them."""
        return self.at(input_ids, token_type_ids, attention_mask, (len(self),))[0]

    def at(
        self,
        input_ids: torch.Tensor,
        token_type_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        depths: Sequence[int],
    ) -> list[torch.Tensor]:
        """Vectors of some layers: float32 (rows, tokens, width); where a row has ended, zeros.

        Args:
            input_ids: int64, (rows, tokens).
            token_type_ids: int64, (rows, tokens).
            attention_mask: int64, (rows, tokens): 1 for real tokens, which come first.
            depths: after how many layers, rising.
        """
        rows, tokens = input_ids.shape
        real, lengths = attention_mask.flatten().bool(), attention_mask.sum(1).tolist()
        at = real.nonzero().squeeze(1)
        x = self._words[input_ids.flatten()[at]] + self._types[token_type_ids.flatten()[at]]
        x = self._normed(x + self._places[at % tokens], self._first_norm)
        found = []
        for depth, layer in enumerate(self._layers[: depths[-1]], 1):
            x = self._through(layer, x, lengths)
            if depth in depths:
                spread = x.new_zeros(rows * tokens, x.shape[1]).index_copy_(0, at, x)
                found.append(spread.view(rows, tokens, -1))
        return found

    def _through(self, layer: _Layer, x: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        parts = -(-len(x) // _AT_ONCE)
        qkv = torch.cat([layer.qkv(some) for some in x.chunk(parts)])
        read = torch.cat([self._attended(row) for row in qkv.split(lengths)])
        both = zip(x.chunk(parts), read.chunk(parts), strict=True)
        return torch.cat([self._after_attention(layer, *part) for part in both])

    def _attended(self, qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = qkv.view(1, len(qkv), 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(qkv), -1)

    def _after_attention(self, layer: _Layer, x: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        x = self._normed(x + layer.out(read), layer.norm)
        return self._normed(x + layer.down(gelu(layer.up(x))), layer.last_norm)

    def _normed(self, x: torch.Tensor, by: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return layer_norm(x, (x.shape[1],), *by, self._epsilon)


class Plain:
    """A linear layer; its weight is (out, in)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._held = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, in) to (tokens, out)."""
        return linear(x, *self._held)


class InEightBits:
    """The same in whole numbers of 8 bits, added up in 32; float32 in and out."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._scale = (weight.abs().amax(1) / _MOST).clamp_min(_LEAST)
        self._weight = (weight / self._scale[:, None]).round().to(torch.int8).t()
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, in) to (tokens, out)."""
        step = x.abs().amax(1, keepdim=True).div_(_MOST).clamp_min_(_LEAST)
        whole = x.div(step).round_().to(torch.int8)
        found = torch._int_mm(whole, self._weight).float().mul_(step)
        return torch.addcmul(self._bias, found, self._scale)


class _Layer:
    """The products and norms of one layer."""

    def __init__(
        self, weights: dict[str, torch.Tensor], name: str, product: type[Plain | InEightBits]
    ) -> None:
        attention = f"{name}attention.self."
        three = [_pair(weights, attention + kind) for kind in ("query", "key", "value")]
        self.qkv = product(torch.cat([w for w, _ in three]), torch.cat([b for _, b in three]))
        self.out = product(*_pair(weights, f"{name}attention.output.dense"))
        self.norm = _pair(weights, f"{name}attention.output.LayerNorm")
        self.up = product(*_pair(weights, f"{name}intermediate.dense"))
        self.down = product(*_pair(weights, f"{name}output.dense"))
        self.last_norm = _pair(weights, f"{name}output.LayerNorm")


def _pair(weights: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]
