"""Lines of log that are written a step late say what they said on time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from plugins.packing.first_labels import WithoutFirstLabels
from plugins.packing.late_log import LateLog
from plugins.packing.trainer import EveryRowTrainer
from tests.plugins.fused.comparison import with_adapter
from tests.plugins.fused.test_merged_training import packed_batches, rows
from tests.plugins.llama.tiny_llama import TARGETS, make_llama

__all__ = ["packed_batches"]
TIMES = ("tokens/train_per_sec_per_gpu", "train_runtime", "memory/")


class Order(TrainerCallback):
    """What comes when: steps that begin, lines, checkpoints."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.events.append(("begin", state.global_step + 1))

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if logs and "loss" in logs:
            self.events.append(("log", state.global_step))

    def on_save(self, args, state, control, **kwargs) -> None:
        self.events.append(("save", state.global_step))


def train(tmp_path, every: int = 1) -> tuple[list[dict[str, Any]], list[tuple[str, int]], float]:
    from axolotl.core.training_args import AxolotlTrainingArguments
    from axolotl.utils.collators import V2BatchSamplerDataCollatorForSeq2Seq
    from tiny_chat import make_tokenizer

    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<|pad|>"
    args = AxolotlTrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=1, gradient_accumulation_steps=2,
        max_steps=7, learning_rate=1e-2, optim="sgd", use_cpu=True, report_to=[],
        logging_steps=every, save_strategy="steps", save_steps=3, sample_packing=True,
        max_seq_length=16, multipack_real_batches=True, remove_unused_columns=False,
        disable_tqdm=True, max_grad_norm=1.0, lr_scheduler_type="linear", include_tkps=True,
        dataloader_pin_memory=False, average_tokens_across_devices=True,
    )  # fmt: skip
    order = Order()
    trainer = EveryRowTrainer(
        model=with_adapter(make_llama(), TARGETS, rank=8), args=args, train_dataset=rows(),
        callbacks=[order], data_collator=WithoutFirstLabels(
            V2BatchSamplerDataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=16)
        ),
    )  # fmt: skip
    trainer.plan_rows()
    result = trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    kept = [{k: v for k, v in entry.items() if not k.startswith(TIMES)} for entry in logged]
    return kept, order.events, result.training_loss


@pytest.mark.usefixtures("packed_batches")
@pytest.mark.parametrize("every", [1, 2])
def test_the_same_lines_in_another_moment(tmp_path, monkeypatch, every) -> None:
    on_time, events, mean = train(tmp_path / "on_time", every)
    monkeypatch.setattr(LateLog, "devices", ("cuda", "cpu"))
    late, late_events, late_mean = train(tmp_path / "late", every)
    assert len(on_time) == 7 // every
    assert {"loss", "grad_norm", "learning_rate", "epoch", "step", "tokens/total"} <= set(late[0])
    assert late == on_time
    assert late_mean == pytest.approx(mean, rel=1e-6)
    assert sorted(late_events) == sorted(events)
    if every == 1:
        assert events.index(("log", 1)) < events.index(("begin", 2))
        assert late_events.index(("log", 1)) > late_events.index(("begin", 2))
    for step in range(every, 8, every):  # before the checkpoint that holds it, and the end
        if ("save", step) in late_events:
            assert late_events.index(("log", step)) < late_events.index(("save", step))


def test_numbers_on_a_cpu_are_copies() -> None:
    from plugins.packing.late_log import _to_host

    x = torch.ones(2)
    kept = _to_host(x)
    x.add_(1)
    assert kept.tolist() == [1.0, 1.0]
