"""A run whose micro-batches are merged learns what it learns without, through Axolotl's trainer."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

from plugins.fused.merge import merge_micro_batches
from plugins.packing.first_labels import WithoutFirstLabels
from plugins.packing.trainer import EveryRowTrainer
from tests.plugins.fused.comparison import relative, with_adapter
from tests.plugins.llama.tiny_llama import TARGETS, make_llama


def rows(count: int = 24) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        n = 5 + index % 7
        ids = torch.randint(12, 128, (n,), generator=generator).tolist()
        made.append(
            {
                "input_ids": ids, "labels": [-100] * 2 + ids[2:], "attention_mask": [1] * n,
                "position_ids": list(range(n)), "length": n,
            }
        )  # fmt: skip
    return Dataset.from_list(made)


class Losses(TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if logs and "loss" in logs:
            self.seen.append(float(logs["loss"]))


def train(tmp_path, factor: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    from axolotl.core.training_args import AxolotlTrainingArguments
    from axolotl.utils.collators import V2BatchSamplerDataCollatorForSeq2Seq
    from tiny_chat import make_tokenizer

    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<|pad|>"
    args = AxolotlTrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=1, gradient_accumulation_steps=4,
        max_steps=3, learning_rate=1e-2, optim="sgd", use_cpu=True, report_to=[],
        logging_steps=1, save_strategy="no", sample_packing=True, max_seq_length=16,
        multipack_real_batches=True, remove_unused_columns=False, disable_tqdm=True,
        max_grad_norm=0.0, lr_scheduler_type="constant", include_tkps=False,
        dataloader_pin_memory=False, average_tokens_across_devices=True,
    )  # fmt: skip
    model = with_adapter(make_llama(), TARGETS, rank=8)
    losses = Losses()
    trainer = EveryRowTrainer(
        model=model, args=args, train_dataset=rows(), callbacks=[losses],
        data_collator=WithoutFirstLabels(
            V2BatchSamplerDataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=16)
        ),
    )  # fmt: skip
    trainer.plan_rows()
    if factor > 1:
        merge_micro_batches(trainer, factor)
    trainer.train()
    return losses.seen, {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


@pytest.fixture
def packed_batches(monkeypatch):
    """Axolotl's patch of torch's data loader, for the time of the test, and a CPU for its trainer.

    That has accelerate look for a device anew, past ``use_cpu``: a GPU where there is one.
    """
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    from axolotl.monkeypatch.data import batch_dataset_fetcher as patch

    patch.apply_multipack_dataloader_patch()
    yield
    patch.remove_multipack_dataloader_patch()


@pytest.mark.usefixtures("packed_batches")
@pytest.mark.parametrize("factor", [2, 4])
def test_losses_and_weights_are_the_same(tmp_path, factor) -> None:
    want, want_weights = train(tmp_path / "one", 1)
    got, got_weights = train(tmp_path / "merged", factor)
    assert len(want) == 3
    assert got == pytest.approx(want, rel=1e-4)
    for name, weight in want_weights.items():
        assert relative(got_weights[name], weight) < 1e-5, name
