"""Axolotl's trainer over `EveryRow`, with losses that weigh every trained token the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from axolotl.core.trainers.base import AxolotlTrainer
from axolotl.core.trainers.constants import TOKENS_STATE_FILE
from axolotl.utils.samplers import get_dataset_lengths
from transformers import TrainerCallback

from plugins.packing.late_log import LateLog
from plugins.packing.order import EveryRow, Packing, Share
from recipes.runner.core.labels import IGNORE


class EveryRowTrainer(LateLog, AxolotlTrainer):
    """Trains and evaluates every row, with any number of ranks to the same loss.

    An optimizer step's loss is the sum over its trained tokens by their number, over all
    micro-batches and ranks; so is the held-out loss over the whole held-out set.
    """

    _train_rows: EveryRow | None = None
    _held_out_rows: EveryRow | None = None
    kinds: list[str] | None = None
    """Of each row to train on: those of one kind are spread evenly over the steps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Axolotl takes a forward that doesn't name num_items_in_batch for one that leaves it
        # alone; transformers' own models hand it to their loss function.
        self.model_accepts_loss_kwargs = True
        self.add_callback(_TellEpoch(self))

    def plan_rows(self) -> int:
        """Settle which rows come when.

        Returns:
            Optimizer steps of an epoch.
        """
        self._train_rows = self._rows_of(self.train_dataset)
        return self._train_rows.steps

    def tokens_of_row(self) -> int:
        """Most tokens of a row of a micro-batch."""
        return int(self.args.max_seq_length)

    def _rows_of(self, dataset: Any) -> EveryRow:
        args: Any = self.args
        share = Share(
            args.per_device_train_batch_size, args.gradient_accumulation_steps, args.world_size
        )
        seed = None if args.curriculum_sampling else args.data_seed or args.seed
        lengths, packing = get_dataset_lengths(dataset), self._packing(args.sample_packing)
        return EveryRow(lengths, packing, share, seed, self.kinds)

    def _packing(self, packed: bool) -> Packing:
        args: Any = self.args
        return Packing(
            capacity=args.max_seq_length if packed else None,
            most_rows=args.sample_packing_bin_size or args.max_seq_length,
            group=args.sample_packing_group_size,
            in_order=bool(args.sample_packing_sequentially),
            flat=not args.multipack_real_batches,
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self._train_rows is None:
            self._train_rows = self._rows_of(train_dataset or self.train_dataset)
        return self._train_rows

    def _get_eval_sampler(self, eval_dataset: Any = None) -> Any:
        args: Any = self.args
        packed = args.sample_packing and args.eval_sample_packing is not False
        share = Share(args.per_device_eval_batch_size, 1, args.world_size)
        self._held_out_rows = EveryRow(
            get_dataset_lengths(eval_dataset), self._packing(packed), share, seed=0
        )
        return self._held_out_rows

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        # accelerate would repeat rows until every rank's batches are full.
        self.accelerator.even_batches = False
        return super()._get_dataloader(*args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | int | None]:
        """The micro-batches of a step, and its trained tokens; a filler's are taken out."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        rows = self._train_rows
        if rows is None:
            return batches, count
        first = self.state.global_step % rows.steps * rows.share.accumulation
        for place, batch in enumerate(batches):
            if rows.is_filler((first + place) * rows.share.ranks + self.args.process_index):
                batch["labels"] = torch.full_like(batch["labels"], IGNORE)
        return batches, self._get_num_items_in_batch(batches, device)

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As Axolotl's, whose count of the tokens waits for the GPU in every micro-batch."""
        counting = self.args.include_tkps
        if counting and model.training and "labels" in inputs:
            self._count_tokens(inputs["labels"])
        self.args.include_tkps = False
        try:
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            self.args.include_tkps = counting

    def _count_tokens(self, labels: torch.Tensor) -> None:
        """Keep Axolotl's counts, of all ranks, as tensors that are read when they are logged."""
        trained = (labels != IGNORE).sum()
        counts = torch.stack([trained, trained.new_full((), labels.numel())])
        if self.args.world_size > 1:
            torch.distributed.all_reduce(counts)
        state: Any = self.state
        before = getattr(state, "tokens", None) or self._tokens_of_checkpoint()
        state.tokens = {
            name: torch.as_tensor(before[name], device=labels.device) + count
            for name, count in zip(("trainable", "total"), counts, strict=True)
        }

    def _tokens_of_checkpoint(self) -> dict[str, int]:
        """The counts that a resumed run goes on from; Axolotl reads them only when told a path."""
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            return json.loads((folder / TOKENS_STATE_FILE).read_text(encoding="utf-8"))
        except OSError:
            return {"trainable": 0, "total": 0}

    def evaluation_loop(
        self, dataloader: Any, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> Any:
        """As the Trainer's, with the loss over all held-out tokens in place of a mean of means."""
        self._held_out = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        self._held_out_batches = 0
        output = super().evaluation_loop(
            dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs
        )
        total, tokens = self.accelerator.reduce(self._held_out, reduction="sum").tolist()
        if tokens and output.metrics is not None:
            output.metrics[f"{metric_key_prefix}_loss"] = total / tokens
        return output

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As the Trainer's; keeps the sum of the loss over the tokens of this rank."""
        index = self._held_out_batches * self.args.world_size + self.args.process_index
        self._held_out_batches += 1
        tokens = int((inputs["labels"][..., 1:] != IGNORE).sum()) if "labels" in inputs else 0
        # The mean over this batch alone, not this rank's part of a mean over all ranks' batches.
        self.model_accepts_loss_kwargs = False
        try:
            result = super().prediction_step(model, inputs, *args, **kwargs)
        finally:
            self.model_accepts_loss_kwargs = True
        rows = self._held_out_rows
        if tokens and result[0] is not None and not (rows and rows.is_filler(index)):
            self._held_out[0] += result[0].detach().double() * tokens
            self._held_out[1] += tokens
        return result


class _TellEpoch(TrainerCallback):
    """accelerate tells the sampler no epoch with several ranks, nor on resuming."""

    def __init__(self, trainer: EveryRowTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        rows = self.trainer._train_rows
        if rows is not None:
            rows.set_epoch(state.global_step // rows.steps)
