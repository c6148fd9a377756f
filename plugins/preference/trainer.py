"""DPO over packed pairs, without whole logits; TRL's own way where that can't be."""

from __future__ import annotations

from typing import Any

import torch
from axolotl.core.trainers.dpo.trainer import AxolotlDPOTrainer
from trl import DPOTrainer

from plugins.preference.losses import KNOWN, Sides, pair_losses, sft_loss, sft_weight
from plugins.preference.pack import asked_of
from plugins.preference.packed import PacksPreferences


class PackedDPOTrainer(PacksPreferences, AxolotlDPOTrainer):
    """Runs chosen and rejected as one packed row, once by the policy and once by the reference.

    Loss and figures are TRL's, but for entropy, mean logits and token accuracy, which want all
    logits. What is logged is read from the GPU when it is logged, not in every micro-batch; and
    memory isn't handed back after each, as Axolotl does.
    """

    _pairs_of_step = _batches_of_step = 0
    _chosen_tokens_of_step: Any = 0

    def _unknown(self) -> str:
        if others := [kind for kind in self.loss_types if kind not in KNOWN]:
            return f"the loss {others[0]} is none of {', '.join(KNOWN)}"
        asked = self._asked()
        asked += [key for key in ("ld_alpha", "use_weighting") if getattr(self, key)]
        if self.f_divergence_type != "reverse_kl":
            asked.append(f"the divergence {self.f_divergence_type}")
        return f"it doesn't know {', '.join(asked)}" if asked else ""

    def tokens_of_row(self) -> int:
        """Most tokens of a pair of the training rows, chosen and rejected together."""
        longest = self.args.max_length
        return max(
            sum(
                min(len(row["prompt_ids"]) + len(row[side]), longest or 2**31)
                for side in ("chosen_ids", "rejected_ids")
            )
            for row in self.train_dataset
        )

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of a step, whose pairs are counted."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        if self.packs:
            self._pairs_of_step = sum(_pairs(batch) for batch in batches)
            self._chosen_tokens_of_step = sum(_chosen_tokens(batch) for batch in batches)
            self._batches_of_step = len(batches)
        return batches, items

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As TRL's; Axolotl's collects garbage and empties the allocator's cache each time."""
        if not self.packs:
            return super().training_step(*args, **kwargs)
        return DPOTrainer.training_step(self, *args, **kwargs)

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        if not self.packs:
            return super()._compute_loss(model, inputs, return_outputs)
        mode = "train" if self.model.training else "eval"
        asked = asked_of(inputs)
        # First, while nothing is kept for a backward.
        before = self._reference(asked)
        found = model(**asked).log_probabilities
        sides = Sides(found, found - before, inputs["completion_tokens"])
        self._note(mode, inputs, found, sides.changes)
        kinds, weights = self.loss_types, self.loss_weights
        loss = pair_losses(kinds, weights, sides, self.beta, self.label_smoothing).mean()
        tokens = None
        if mode == "train" and self._pairs_of_step:
            # The Trainer gives each micro-batch of a step the same weight; here each pair has it,
            # and each chosen token.
            loss = loss * (_pairs(inputs) * self._batches_of_step / self._pairs_of_step)
            tokens = self._chosen_tokens_of_step / self._batches_of_step
        if anchor := sft_weight(kinds, weights):
            loss = loss + anchor * sft_loss(sides, tokens)
        return loss

    def _note(self, mode: str, inputs: Any, found: torch.Tensor, changes: torch.Tensor) -> None:
        """Keep the figures of a micro-batch, under TRL's names, where they were computed."""
        gathered = self.accelerator.gather(torch.stack([found, changes]).detach().T.contiguous())
        ranks = gathered.view(-1, 2, _pairs(inputs), 2)  # rank, side, pair, which
        (chosen, rejected), rewards = ranks[..., 0].unbind(1), self.beta * ranks[..., 1]
        good, bad = rewards.unbind(1)
        figures = {
            "rewards/chosen": good, "rewards/rejected": bad, "rewards/margins": good - bad,
            "rewards/accuracies": (good > bad).float(), "logps/chosen": chosen,
            "logps/rejected": rejected,
        }  # fmt: skip
        for key, values in figures.items():
            self._metrics[mode][key].append(values.mean())
        if mode == "train":
            self._total_train_tokens += inputs["tokens"] * self.args.world_size  # as this rank's
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL's, over figures that are read from the GPU now."""
        for values in self._metrics["train" if self.model.training else "eval"].values():
            values[:] = [float(value) for value in values]
        super().log(logs, start_time)


def _pairs(batch: Any) -> int:
    return len(batch["completion_tokens"]) // 2


def _chosen_tokens(batch: Any) -> torch.Tensor:
    return batch["completion_tokens"].chunk(2)[0].sum()
