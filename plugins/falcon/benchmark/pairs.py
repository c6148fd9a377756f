"""Optimizer steps of DPO and KTO, as Axolotl runs them and as this repository does.

`python -m plugins.falcon.benchmark.pairs stock auto low,12 values` prints a line of JSON a case:
Falcon-7B's shape with random weights, 1,024 tokens a side of which a quarter is the prompt, LoRA of
rank 32 on every linear layer with a frozen copy for the reference, 8 pairs an optimizer step in
micro-batches of one, and each step logged, as falcon7b-dpo has it. ``stock`` is Axolotl's trainer
over what it loads: `load_in_4bit` quantises no Falcon there, and lifts it to float32. A number
after a comma is the GiB that the process may take. ``kto-stock``, ``kto-auto`` and so on are KTO's
over 16 answers, in micro-batches of two, as falcon7b-kto has it. ``values`` holds the packed way
and TRL's own against TRL's own in float32. ``tiny`` among the words shows on any machine that all
runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from axolotl.core.trainers.dpo.args import AxolotlDPOConfig
from axolotl.core.trainers.dpo.trainer import AxolotlDPOTrainer
from axolotl.core.trainers.trl import AxolotlKTOTrainer
from axolotl.core.training_args import AxolotlKTOConfig
from axolotl.utils.dict import DictDefault
from datasets import Dataset
from transformers import TrainerCallback

from plugins.falcon.benchmark import blocks, stand_in
from plugins.falcon.plugin import FalconPlugin
from plugins.fused.backends import chosen
from plugins.fused.memory import GIB
from plugins.preference.kto import PackedKTOTrainer
from plugins.preference.pack import pack_pairs
from plugins.preference.reference import keep_in_fp32
from plugins.preference.trainer import PackedDPOTrainer
from recipes.runner.core.fallbacks import fallbacks_taken

PAIRS = 8  # of an optimizer step, or that many times two answers
KTO = "kto-"
RANK = 32
CHECKPOINTING: dict[str, Any] = {
    "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}
}  # fmt: skip


class _Tokenised:
    """Rows that are tokens already."""

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        return dataset


class _Stock(_Tokenised, AxolotlDPOTrainer):
    pass


class _Packed(_Tokenised, PackedDPOTrainer):
    pass


class _StockAnswers(_Tokenised, AxolotlKTOTrainer):
    pass


class _PackedAnswers(_Tokenised, PackedKTOTrainer):
    pass


class _Stopwatch(TrainerCallback):
    def __init__(self, warm_up: int) -> None:
        self.warm_up, self.peak = warm_up, 0
        self.marks: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.peak = max(self.peak, torch.cuda.max_memory_allocated())
        if state.global_step >= self.warm_up:
            self.marks.append(time.perf_counter())


def rows(side: int, vocabulary: int, answers: bool = False) -> Dataset:
    """As many pairs, or ``answers`` wanted and not in turn, as a few steps take, random tokens."""
    draw = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        return torch.randint(20, vocabulary, (count,), generator=draw).tolist()

    asked = side // 4
    found: list[dict[str, Any]] = []
    for _ in range(4 * PAIRS):
        prompt, one, other = ids(asked), ids(side - asked), ids(side - asked)
        if not answers:
            found.append({"prompt_ids": prompt, "chosen_ids": one, "rejected_ids": other})
            continue
        # Beside each stands the other answer of its micro-batch, as TRL pairs them for its KL.
        found += [
            {"prompt_ids": prompt, "completion_ids": mine, "KL_completion_ids": theirs,
             "label": wanted}
            for mine, theirs, wanted in ((one, other, True), (other, one, False))
        ]  # fmt: skip
    return Dataset.from_list(found)


def trainer_of(kind: Any, model: Any, folder: Path, steps: int, side: int, **more: Any) -> Any:
    """A trainer over random pairs, its adapter beside a frozen copy of it."""
    from peft import LoraConfig

    stand_in.make_tokenizer(folder / "tokenizer", ["nothing"])
    from transformers import AutoTokenizer

    more = {"bf16": torch.cuda.is_available()} | more
    answers = issubclass(kind, AxolotlKTOTrainer)
    args = (AxolotlKTOConfig if answers else AxolotlDPOConfig)(
        output_dir=str(folder), beta=0.1, per_device_train_batch_size=1 + answers, max_length=side,
        gradient_accumulation_steps=PAIRS, max_steps=steps, logging_steps=1, report_to=[],
        save_strategy="no", optim="adamw_torch_fused", use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True, learning_rate=2e-5, remove_unused_columns=False, **more,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    tokenizer.pad_token = ">>SUFFIX<<"
    lora = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=blocks.TARGETS["falcon"], task_type="CAUSAL_LM"
    )
    data = rows(side, model.config.vocab_size, answers)
    trainer = kind(model=model, args=args, train_dataset=data, processing_class=tokenizer,
                   peft_config=lora)  # fmt: skip
    _with_reference(trainer.model)
    return trainer


def _with_reference(model: Any) -> None:
    """A trained adapter's weights in both, apart by what a few steps would do."""
    model.add_adapter("ref", model.peft_config["default"])
    keep_in_fp32(model)
    torch.manual_seed(1)
    named = dict(model.named_parameters())
    for name, parameter in named.items():
        if ".ref." in name:
            of = named[name.replace(".ref.", ".default.")]
            if "lora_B" in name:
                torch.nn.init.normal_(of, std=0.002)
            parameter.data = of.data.clone()
            of.data += 1e-4 * torch.randn_like(of)
            parameter.requires_grad_(False)


def base_of(quantised: bool, tiny: bool) -> Any:
    """Falcon-7B's shape as this repository loads it, or as stock Axolotl does."""
    from transformers import AutoConfig, AutoModelForCausalLM

    gpu = torch.cuda.is_available()
    shape: dict[str, Any] = {"model_type": "falcon"} | (stand_in.TINY if tiny else {})
    config = AutoConfig.for_model(**shape)
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    with torch.device("cuda" if gpu else "cpu"):
        dtype = torch.bfloat16 if gpu else torch.float32
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.requires_grad_(False)
    model.config.use_cache = False
    if quantised and gpu:
        blocks.quantise(model)
    return model if quantised else model.float()


def our_trainer(
    kind: Any,
    folder: Path,
    steps: int,
    side: int,
    tiny: bool,
    memory: str,
    limit: float | None = None,
) -> Any:
    """The packed trainer of DPO or KTO, set up by the plugin as in a run.

    The process is held to ``limit`` GiB once the base is small: it is drawn in 16 bits.
    """
    base = base_of(True, tiny)
    fresh(limit)
    trainer = trainer_of(kind, base, folder, steps, side)
    options = {"memory": memory}
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    cfg = DictDefault({
        "rl": "kto" if kind is _PackedAnswers else "dpo", "bf16": dtype == torch.bfloat16,
        "torch_dtype": dtype, "falcon": options,
    })  # fmt: skip
    FalconPlugin().post_trainer_create(cfg, trainer)
    assert trainer.packs, fallbacks_taken()
    return trainer


def measure(case: str, folder: Path, side: int, tiny: bool) -> dict[str, Any]:
    """Seconds of an optimizer step, and the card's peak."""
    name, _, limit = case.partition(",")
    answers, name = name.startswith(KTO), name.removeprefix(KTO)
    warm_up, steps = (1, 2) if name == "stock" else (3, 6)
    if name == "stock":
        kind = _StockAnswers if answers else _Stock
        trainer = trainer_of(kind, base_of(False, tiny), folder, steps, side, **CHECKPOINTING)
    else:
        kind = _PackedAnswers if answers else _Packed
        room = float(limit) if limit else None
        trainer = our_trainer(kind, folder, steps, side, tiny, name, room)
    watch = _Stopwatch(warm_up)
    trainer.add_callback(watch)
    held = _allocated()
    trainer.train()
    seconds = (watch.marks[-1] - watch.marks[0]) / (len(watch.marks) - 1)
    return {
        "case": case, "seconds_a_step": seconds, "pairs_a_second": PAIRS / seconds,
        "tokens_a_second": 2 * PAIRS * side / seconds, "held_gib": held / GIB,
        "peak_gib": watch.peak / GIB, "reserved_gib": _reserved() / GIB,
        "rows_a_pass": trainer.args.per_device_train_batch_size,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "chosen": chosen() if name != "stock" else {},
    }  # fmt: skip


def compare(folder: Path, side: int, tiny: bool) -> dict[str, Any]:
    """One pair: the packed way and TRL's own, each against TRL's own in float32 throughout.

    All three hold the same base (nf4, unpacked for float32) and the same adapters; TRL's run
    transformers' modules over padded rows with all logits. What the packed way is off by is to be
    no more than what TRL's own is in the same 16 bits.
    """
    packed = our_trainer(_Packed, folder, 1, side, tiny, "fast")
    weights = _adapters(packed.model)
    found = {"packed": _one_pair(packed, packs=True)}
    del packed
    for name in ("plain", "exact"):
        fresh(None)
        base, more = base_of(True, tiny), CHECKPOINTING
        if name == "exact":
            base, more = in_float32(base), CHECKPOINTING | {"bf16": False, "tf32": False}
        trainer = trainer_of(_Stock, base, folder, 1, side, **more)
        for key, value in _adapters(trainer.model).items():
            value.copy_(weights[key])
        found[name] = _one_pair(trainer, packs=False)
        del trainer, base
    return {"case": "values"} | {
        name: {"loss": loss} | figures | apart(gradient, found["exact"][1])
        for name, (loss, gradient, figures) in found.items()
    }


def _adapters(model: Any) -> dict[str, torch.Tensor]:
    """Both adapters' weights by name."""
    return {name: p.detach() for name, p in model.named_parameters() if "lora_" in name}


def _one_pair(trainer: Any, packs: bool) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """(loss, gradients of the trained adapter by name, figures) of the first pair, as in training.

    Under autocast where the trainer has it, and logits in float32 outside of it.
    """
    trainer.accelerator.prepare_model(trainer.model.train())
    collator = trainer.data_collator
    padded = (collator.collate if packs else collator)([trainer.train_dataset[0]])
    batch = trainer._prepare_inputs(pack_pairs(padded) if packs else dict(padded))
    trainer.model.zero_grad()
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {
        name: p.grad.double() for name, p in trainer.model.named_parameters() if p.grad is not None
    }
    figures = {key: float(values[-1]) for key, values in trainer._metrics["train"].items()}
    kept = ("logps/chosen", "logps/rejected", "rewards/chosen", "rewards/margins")
    return loss.item(), gradients, {key: figures[key] for key in kept}


def apart(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> dict[str, float]:
    """How far gradients are off: the norm of the difference over the exact norm, all and worst.

    Raises:
        AssertionError: they are not of the same weights.
    """
    assert found.keys() == exact.keys()
    off = {name: (found[name] - exact[name]).norm() for name in exact}
    norms = {name: exact[name].norm() for name in exact}
    dot = sum((found[name] * exact[name]).sum() for name in exact)
    whole = torch.stack(list(norms.values())).norm()
    own = torch.stack([gradient.norm() for gradient in found.values()]).norm()
    return {
        "gradients_apart": float(torch.stack(list(off.values())).norm() / whole),
        "gradients_cosine": float(dot / (whole * own)),
        "worst_weight_apart": max(float(off[name] / norms[name]) for name in exact),
    }


def in_float32(model: Any) -> Any:
    """The same values, nf4 unpacked, in plain float32 layers."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, Linear4bit):
                continue
            weight: Any = child.weight
            plain = torch.nn.Linear(
                child.in_features, child.out_features, child.bias is not None, device="meta"
            )
            values = dequantize_4bit(weight.data, weight.quant_state)
            plain.weight = torch.nn.Parameter(values.float(), requires_grad=False)
            if child.bias is not None:
                plain.bias = torch.nn.Parameter(child.bias.data.float(), requires_grad=False)
            setattr(parent, name, plain)
    model.is_loaded_in_4bit = False
    return model.float()


def fresh(limit: float | None) -> None:
    """An empty card, of which the process may take ``limit`` GiB."""
    if torch.cuda.is_available():
        blocks.fresh()
        blocks.hold(limit)


def _allocated() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


def _reserved() -> int:
    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0


def main() -> None:
    """Measure the named cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "cases", nargs="+", help="stock, auto, fast, low, low,12, kto-stock, kto-auto, values; tiny"
    )
    parser.add_argument("--side", type=int, default=1024, help="tokens of prompt and answer")
    args = parser.parse_args()
    tiny = "tiny" in args.cases
    for case in (name for name in args.cases if name != "tiny"):
        began = time.perf_counter()
        fresh(None)
        with tempfile.TemporaryDirectory() as folder:
            try:
                if case == "values":
                    found = compare(Path(folder), args.side, tiny)
                else:
                    found = measure(case, Path(folder), args.side, tiny)
            except RuntimeError as error:
                found = {"case": case, "failed": str(error).split("\n")[0]}
        print(json.dumps(found | {"took": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
