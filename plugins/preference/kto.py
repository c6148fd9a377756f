"""KTO over packed answers, without whole logits; TRL's own way where that can't be."""

from __future__ import annotations

from typing import Any

import torch
from axolotl.core.trainers.trl import AxolotlKTOTrainer

from plugins.preference.pack import OTHERS, PackAnswers, asked_of, end_to_end
from plugins.preference.packed import PacksPreferences

_SUMS = (
    "rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected", "chosen", "rejected",
    "kl", "groups",
)  # fmt: skip


class PackedKTOTrainer(PacksPreferences, AxolotlKTOTrainer):
    """Runs a micro-batch's answers as one packed row, and the others' as another.

    The policy goes over both, once with gradients, and the reference once over the two together.
    Loss and figures are TRL's, but for entropy and mean logits, which want all logits; figures are
    of all answers since the last line of log, where TRL averages micro-batches. Micro-batches that
    were merged keep a divergence each: it is estimated over as many answers as the recipe says.
    """

    packer = PackAnswers
    _groups_of_step = _batches_of_step = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = self.args.per_device_train_batch_size
        self._sums: dict[str, torch.Tensor] = {}

    def _unknown(self) -> str:
        asked = self._asked() + ([] if self.loss_type == "kto" else [f"the loss {self.loss_type}"])
        return f"it doesn't know {', '.join(asked)}" if asked else ""

    def tokens_of_row(self) -> int:
        """Most tokens of an answer of the training rows, with its prompt."""
        longest = max(
            len(row["prompt_ids"]) + len(row["completion_ids"]) for row in self.train_dataset
        )
        return min(longest, self.args.max_length or 2**31)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of a step, whose groups are counted."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        if self.packs:
            self._groups_of_step = sum(-(-len(batch["label"]) // self.group) for batch in batches)
            self._batches_of_step = len(batches)
        return batches, items

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        if not self.packs:
            return super()._compute_loss(model, inputs, return_outputs)
        mode = "train" if self.model.training else "eval"
        answers, others = asked_of(inputs), asked_of(inputs, OTHERS)
        count, wanted = len(inputs["label"]), inputs["label"].bool()
        # First, while nothing is kept for a backward.
        before = self._reference(end_to_end(answers, others))
        with torch.no_grad():
            drift = self.model(**others).log_probabilities - before[count:]
        found = model(**answers).log_probabilities
        changes = found - before[:count]
        group = self.group if mode == "train" else count
        kl = self._divergences(drift, group)
        each = kto_losses(changes, _for_each(kl, group, count), wanted, self.beta)
        each = each * torch.where(wanted, self.desirable_weight, self.undesirable_weight)
        self._note(mode, inputs, found.detach(), changes.detach(), kl)
        loss = _means(each, group).mean()
        if mode == "train" and self._groups_of_step:
            # The Trainer gives each micro-batch of a step the same weight; so here has each group.
            loss = loss * (len(kl) * self._batches_of_step / self._groups_of_step)
        return loss

    def _divergences(self, drift: torch.Tensor, group: int) -> torch.Tensor:
        """[groups] estimates of how far the policy is from its reference, over all ranks, in nats;
        none below 0."""
        means = _means(drift, group)
        gathered: torch.Tensor = self.accelerator.gather(means)
        return gathered.view(-1, len(means)).mean(0).clamp(min=0)

    def _note(
        self,
        mode: str,
        inputs: Any,
        found: torch.Tensor,
        changes: torch.Tensor,
        kl: torch.Tensor,
    ) -> None:
        """Add a micro-batch to the sums of `_SUMS`, where they were computed."""
        good = inputs["label"].to(changes.dtype)
        sides = torch.stack([good, 1 - good])
        of_sides = [sides @ (self.beta * changes), sides @ found.to(changes.dtype), sides.sum(1)]
        groups = torch.stack([kl.sum(), torch.full_like(kl.sum(), len(kl))]).to(changes.dtype)
        gathered: torch.Tensor = self.accelerator.gather(torch.cat([*of_sides, groups])[None])
        before = self._sums.get(mode)
        now = gathered.sum(0)
        self._sums[mode] = now if before is None else before + now
        if mode == "train":
            tokens = inputs["tokens"] * self.args.world_size  # as this rank's
            self._total_train_tokens += tokens
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL's, over figures that are read from the GPU now."""
        mode = "train" if self.model.training else "eval"
        sums = self._sums.pop(mode, None)
        if sums is not None:
            for key, value in figures_of(dict(zip(_SUMS, sums.tolist(), strict=True))).items():
                self._metrics[mode][key] = [value]
        super().log(logs, start_time)


def kto_losses(
    changes: torch.Tensor, kl: torch.Tensor, wanted: torch.Tensor, beta: float
) -> torch.Tensor:
    """[N] KTO's loss of each answer, from 0 to 1 (Ethayarajh et al., 2024, equation 7).

    Args:
        changes: [N] of log probabilities from the reference's, in nats.
        kl: [N] the divergence that each is held against, in nats.
        wanted: [N] bool.
        beta: how dear it is to part from the reference.
    """
    sign = torch.where(wanted, 1.0, -1.0)
    return 1 - torch.sigmoid(beta * sign * (changes - kl))


def figures_of(sums: dict[str, float]) -> dict[str, float]:
    """TRL's figures of the answers that were added up; none of a side without answers."""
    found = {"kl": sums["kl"] / sums["groups"]}
    for side in ("chosen", "rejected"):
        if sums[side]:
            found |= {f"{key}/{side}": sums[f"{key}/{side}"] / sums[side]
                      for key in ("rewards", "logps")}  # fmt: skip
    if sums["chosen"] and sums["rejected"]:
        found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
    return found


def _means(values: torch.Tensor, group: int) -> torch.Tensor:
    """[groups] means of each ``group`` values in turn; the last may have fewer."""
    return torch.stack([part.mean() for part in values.split(group)])


def _for_each(values: torch.Tensor, group: int, count: int) -> torch.Tensor:
    """[count] each group's value, for each of its members."""
    return values.repeat_interleave(group)[:count]
