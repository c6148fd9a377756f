"""Packed batches, adapters on tiny models, and the comparison of two models over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.functional import cross_entropy

from plugins.fused.backend import drop


def pack(lengths: list[int], padding: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """One row as Axolotl's collator packs it: positions restart, the mask counts the sequences."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths) + padding
    ids = torch.randint(12, 128, (1, total), generator=generator)
    positions = torch.cat([torch.arange(n) for n in [*lengths, padding]])[None]
    mask = torch.cat(
        [torch.full((n,), i + 1) for i, n in enumerate(lengths)] + [torch.zeros(padding)]
    )
    labels = ids.clone()
    start = 0
    for n in lengths:
        labels[0, start] = -100  # the first token of a sequence has nothing before it
        start += n
    labels[0, start:] = -100
    return {
        "input_ids": ids,
        "position_ids": positions,
        "attention_mask": mask.long()[None],
        "labels": labels,
    }


def with_adapter(
    model: nn.Module,
    targets: Sequence[str],
    rank: int = 4,
    dropout: float = 0.0,
    **changes: object,
):
    """PEFT's LoRA on ``targets``, with second weights that are not zero."""
    torch.manual_seed(1)
    settings = {"lora_alpha": rank, "lora_dropout": dropout, "target_modules": list(targets)}
    peft_model = get_peft_model(model, LoraConfig(r=rank, **(settings | changes)))
    for name, parameter in peft_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return peft_model


def losses_and_gradients(model, batches: list[dict], lengths: list[int]):
    """Summed loss of each sequence, and the gradient of their sum in every adapter weight."""
    model.zero_grad()
    losses = []
    for batch in batches:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        logits = model(**inputs).logits
        token_losses = cross_entropy(
            logits[0, :-1], batch["labels"][0, 1:], ignore_index=-100, reduction="none"
        )
        token_losses = torch.cat([token_losses, token_losses.new_zeros(1)])
        split = lengths if len(batches) == 1 else [token_losses.numel()]
        rest = token_losses.numel() - sum(split)
        losses += [part.sum() for part in token_losses.split([*split, rest])[: len(split)]]
    torch.stack(losses).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    return torch.stack(losses).detach(), gradients


def one_by_one(batch: dict, lengths: list[int]) -> list[dict]:
    """The sequences of a packed row as rows of their own."""
    rows, start = [], 0
    for length in lengths:
        row = {key: value[:, start : start + length] for key, value in batch.items()}
        row["attention_mask"] = torch.ones_like(row["attention_mask"])
        rows.append(row)
        start += length
    return rows


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    """Norm of the difference over the norm of ``want``."""
    return ((got - want).norm() / want.norm().clamp_min(1e-12)).item()


def outputs_and_gradients(model, batch):
    """Logits of the real tokens, and the gradients of a function of them in what is trained."""
    model.zero_grad()
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    logits = model(**inputs).logits
    real = batch["attention_mask"].bool() if "attention_mask" in batch else slice(None)
    weights = torch.linspace(-1, 1, logits.shape[-1], dtype=logits.dtype, device=logits.device)
    (logits[real] * weights).square().mean().backward()
    return logits[real].detach(), {
        n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
    }


def assert_same(model, reference, batch, tolerance: float) -> None:
    """Two models give one output and one set of gradients."""
    got, got_gradients = outputs_and_gradients(model, batch)
    want, want_gradients = outputs_and_gradients(reference, batch)
    assert relative(got, want) < tolerance
    assert got_gradients.keys() == want_gradients.keys()
    assert want_gradients
    for name, gradient in want_gradients.items():
        assert relative(got_gradients[name], gradient) < tolerance, name


def assert_packed_equals_one_by_one(model) -> None:
    """Conversations of one row say the same as in rows of their own, in losses and gradients."""
    lengths = [7, 1, 12, 5]
    batch = pack(lengths, padding=3)
    packed, packed_gradients = losses_and_gradients(model, [batch], lengths)
    single, single_gradients = losses_and_gradients(model, one_by_one(batch, lengths), lengths)
    assert relative(packed, single) < 1e-5
    for name, gradient in single_gradients.items():
        assert relative(packed_gradients[name], gradient) < 1e-5, name


class SameDropout(nn.Dropout):
    """PEFT's dropout replaced by the fused block's mask, to compare the two exactly."""

    seed = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        return drop(flat, self.p, self.seed).view_as(x) if self.training else x

    @classmethod
    def put_on(cls, model: nn.Module, dropout: float, seed: int) -> None:
        """On every adapter of a PEFT model."""
        for module in model.modules():
            if isinstance(module, nn.ModuleDict) and isinstance(
                dict(module.items()).get("default"), nn.Dropout
            ):
                module["default"] = cls(dropout)
                module["default"].seed = seed
