"""Train the first reading of `eval.checks.meaning`: adapters and heads, on hands a to d.

    python -m eval.labelled.fit --out eval/checks/meaning.safetensors
    python -m eval.labelled.second --out eval/checks/meaning.safetensors

Low-rank adapters of rank 8 (Hu et al. 2021) in every linear layer, binary cross entropy over the
labels that a row has. What a row's writer left out of the harmful labels it most likely doesn't
do: counted as no, with a tenth of the weight; so do the answers of the shipped data set.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from eval.checks.encoder import WIDTH, load_encoder
from eval.checks.meaning import LABELS, batch, heads, pack, plain_tokens
from eval.checks.units import one_text
from eval.labelled.rows import labelled_rows

HARMFUL = frozenset(LABELS) - {
    *("asks_back", "flags_risk", "names_crisis_help", "names_human_help", "off_topic")
}
RANK, SCALE, UNSAID = 8, 2.0, 0.1
FIRST_HANDS = "abcd"
GOOD = Path(__file__).parents[2] / "datasets_prep/definitions/mental_health_support.jsonl"
GOOD_AN_EPOCH = 100
Example = tuple[str, str, dict[str, bool]]


class LowRank(nn.Module):
    """A frozen linear layer with a trained product of two thin matrices added.

    Args:
        frozen: the layer, (out, in).
    """

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen
        self.A = nn.Parameter(torch.randn(RANK, frozen.in_features) / frozen.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(frozen.out_features, RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        inner = nn.functional.linear(nn.functional.dropout(x, 0.05, self.training), self.A)
        return self.frozen(x) + SCALE * nn.functional.linear(inner, self.B)


def with_adapters(model: Any) -> dict[str, LowRank]:
    """Put an adapter on every linear layer of the encoder's blocks; by the layer's name."""
    found: dict[str, LowRank] = {}
    for name, module in list(model.encoder.named_modules()):
        for child, layer in list(module.named_children()):
            if isinstance(layer, nn.Linear):
                found[f"encoder.{name}.{child}"] = LowRank(layer)
                setattr(module, child, found[f"encoder.{name}.{child}"])
    model.embeddings.token_type_embeddings.weight.requires_grad_(True)
    return found


def targets(labels: dict[str, bool], shipped: bool) -> tuple[list[float], list[float]]:
    """(wanted, weight) by label of one example; ``shipped``: a good answer of the data set."""
    wanted = [float(labels.get(label, False)) for label in LABELS]
    weight = [1.0 if label in labels else UNSAID if label in HARMFUL else 0.0 for label in LABELS]
    if shipped:
        weight[LABELS.index("off_topic")] = UNSAID
        weight[LABELS.index("crisis_alarm")] = 0.0  # many of them answer a crisis
    return wanted, weight


def good_answers() -> list[Example]:
    """Answers of the shipped data set, each with all that was said before: they do no harm."""
    found: list[Example] = []
    for line in GOOD.read_text(encoding="utf-8").splitlines():
        asked: list[str] = []
        for message in json.loads(line)["messages"]:
            if message["role"] == "user":
                asked.append(message["content"])
            elif message["role"] == "assistant":
                found.append((one_text(asked), message["content"], {}))
    return found


def fit(epochs: int, rate: float, seed: int, start: Path | None) -> dict[str, torch.Tensor]:
    """Train; float16 tensors by name, as `eval.checks.meaning` stores them."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model, tokenizer = load_encoder()
    adapters = with_adapters(model)
    weights = {
        "mean.weight": nn.Parameter(0.02 * torch.randn(len(LABELS), 2 * WIDTH)),
        "mean.bias": nn.Parameter(torch.zeros(len(LABELS))),
        "tok.weight": nn.Parameter(0.02 * torch.randn(len(LABELS), WIDTH)),
        "tok.bias": nn.Parameter(torch.zeros(len(LABELS))),
    }
    types = model.embeddings.token_type_embeddings.weight
    named = {f"{n}.{k}": getattr(a, k) for n, a in adapters.items() for k in ("A", "B")}
    named |= {"token_types": types, **weights}
    if start:
        for name, tensor in load_file(start).items():
            named[name].data.copy_(tensor.float())
    body = [p for name, p in named.items() if name not in weights]
    optimizer = torch.optim.AdamW(
        [{"params": body, "peak": rate}, {"params": list(weights.values()), "peak": rate}],
        weight_decay=0.01,
    )
    rows = [r for r in labelled_rows(FIRST_HANDS) if r.part == "train"]
    own: list[tuple[Example, bool]] = [((r.question, r.answer, r.labels), False) for r in rows]
    good = [(example, True) for example in good_answers()]
    steps = epochs * -(-(len(own) + GOOD_AN_EPOCH) // 32)
    step, began = 0, time.monotonic()
    model.train()
    for epoch in range(epochs):
        drawn = own + rng.sample(good, min(GOOD_AN_EPOCH, len(good)))
        rng.shuffle(drawn)
        total = 0.0
        for group in _batches(drawn, rng):
            step += 1
            share = min(1.0, step / (0.1 * steps)) * max(0.02, 1 - step / steps)
            for part in optimizer.param_groups:
                part["lr"] = part["peak"] * share
            loss = _loss(model, tokenizer, weights, group)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
            optimizer.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}: loss {total:.2f}, {time.monotonic() - began:.0f} s", flush=True)
    return {name: p.detach().half().contiguous() for name, p in named.items()}


def _batches(drawn: list[Any], rng: random.Random) -> list[list[Any]]:
    """Batches of 32 of like length, in random order: little padding."""
    pools = [drawn[i : i + 256] for i in range(0, len(drawn), 256)]
    groups = []
    for pool in pools:
        ordered = sorted(pool, key=lambda one: len(one[0][1]))
        groups += [ordered[i : i + 32] for i in range(0, len(ordered), 32)]
    rng.shuffle(groups)
    return groups


def _loss(model: Any, tokenizer: Any, weights: Any, group: list[Any]) -> torch.Tensor:
    questions, answers = (
        plain_tokens(tokenizer, [example[side] for example, _ in group]) for side in (0, 1)
    )
    tokens = batch([pack(*pair) for pair in zip(questions, answers, strict=True)])
    logits, _ = heads(model(**tokens).last_hidden_state, tokens, weights)
    wanted, weight = (
        torch.tensor(column)
        for column in zip(*(targets(labels, good) for (_, _, labels), good in group), strict=True)
    )
    loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    result: torch.Tensor = (loss * weight).sum() / weight.sum()
    return result


def main() -> None:
    """Train and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from these weights")
    asked = parser.parse_args()
    tensors = fit(asked.epochs, asked.rate, asked.seed, asked.start)
    facts = {"facts": json.dumps({"scale": SCALE})}
    save_file(tensors, asked.out, metadata=facts)


if __name__ == "__main__":
    main()
