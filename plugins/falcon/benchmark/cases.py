"""The runs that are compared, each a recipe with some keys changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RESULT_VARIABLE = "FALCON_BENCHMARK_RESULT"
WARM_UP_VARIABLE = "FALCON_BENCHMARK_WARM_UP"
OURS = [
    "plugins.packing.PackingPlugin",
    "plugins.quantization_guard.QuantizationGuardPlugin",
]
LIGER = "axolotl.integrations.liger.LigerPlugin"
# Axolotl switches its LoRA kernels on by default, and they stop on Falcon.
NO_KERNELS = {f"lora_{part}_kernel": False for part in ("qkv", "o", "mlp", "embedding")}
LLAMA_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LIGER_KERNELS = {
    "liger_rope": True, "liger_rms_norm": True, "liger_glu_activation": True,
    "liger_fused_linear_cross_entropy": True,
}  # fmt: skip
# Kept from the recipe: what is trained and how. The rest is about watching and saving a run.
KEPT = (
    "trust_remote_code", "load_in_4bit", "load_in_8bit", "bnb_config_kwargs", "adapter", "lora_r",
    "lora_alpha", "lora_dropout", "lora_target_modules", "chat_template", "chat_template_jinja",
    "special_tokens", "attn_implementation", "bf16", "fp16", "tf32", "learning_rate",
    "lr_scheduler", "weight_decay", "max_grad_norm", "seed", "falcon",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        name: in bench.json and for `--only`.
        side: ``stock`` Axolotl, ``ours``, or ``llama``: Axolotl with its kernels and liger.
        rows: rows of a batch.
        length: tokens of a row.
        quantised: QLoRA over nf4, or LoRA over 16 bits.
        against: the case that ratios are taken with.
        changes: more keys of the configuration.
        short: over 172 short question and answer pairs instead of whole conversations.
        llama: over a Llama-7B shape in place of the recipe's Falcon.
        shipped: micro-batch, accumulation, length, optimizer and lines of log are the recipe's own.
    """

    name: str
    side: str
    rows: int
    length: int
    quantised: bool = True
    against: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    short: bool = False
    llama: bool = False
    shipped: bool = False


def cases(tiny: bool, recipe: dict[str, Any]) -> list[Case]:
    """All runs in their order; without a GPU short ones, and none that need kernels.

    Args:
        tiny: whether there is no GPU.
        recipe: the recipe's keys.
    """
    rows, long, short = (2, 256, 128) if tiny else (4, 2048, 512)
    checkpoint = {"gradient_checkpointing": True}
    low = {"falcon": {"memory": "low"}}
    padded = {"sample_packing": False, "pad_to_sequence_len": False}
    own = recipe["micro_batch_size"], 128 if tiny else recipe["sequence_len"]
    found = [
        Case("stock-as-shipped", "stock", *own, changes=checkpoint, shipped=True),
        Case("as-shipped", "ours", *own, against="stock-as-shipped", shipped=True),
        Case("stock-qlora", "stock", rows, long, changes=checkpoint),
        Case("qlora", "ours", rows, long, against="stock-qlora"),
        Case("qlora-low", "ours", rows, long, against="stock-qlora", changes=low),
        Case("stock-lora", "stock", rows, long, quantised=False, changes=checkpoint),
        Case("lora", "ours", rows, long, quantised=False, against="stock-lora"),
        Case(f"stock-qlora-1x{long}", "stock", 1, long, changes=checkpoint),
        Case(f"qlora-low-1x{long}", "ours", 1, long, True, f"stock-qlora-1x{long}", low),
        Case(f"stock-qlora-1x{short}", "stock", 1, short, changes=checkpoint),
        Case(f"qlora-low-1x{short}", "ours", 1, short, True, f"stock-qlora-1x{short}", low),
        Case("stock-pairs-padded", "stock", rows, long, changes=checkpoint | padded, short=True),
        Case("pairs-packed", "ours", rows, long, against="stock-pairs-padded", short=True),
    ]
    if not tiny:
        fp8 = {"compute": "fp8"}
        found += [
            Case("qlora-fp8", "ours", rows, long, True, "qlora", {"falcon": fp8}),
            Case("llama-checkpointing", "llama", rows, long, changes=checkpoint, llama=True),
            Case("llama", "llama", rows, long, llama=True),
            Case("llama-ours", "ours", rows, long, True, "llama", llama=True),
            Case(
                "llama-ours-low",
                "ours",
                rows,
                long,
                True,
                "llama-checkpointing",
                {"fused": {"memory": "low"}},
                llama=True,
            ),
            Case(
                "llama-ours-fp8", "ours", rows, long, True, "llama-ours", {"fused": fp8}, llama=True
            ),
        ]
    return found


def config_of(
    case: Case, recipe: dict[str, Any], model: str, data: str, folder: str, steps: int, gpu: bool
) -> dict[str, Any]:
    """The Axolotl configuration of a case.

    Args:
        case: which.
        recipe: the recipe's keys.
        model: folder or name of the model.
        data: JSONL file of conversations.
        folder: where the run may write.
        steps: optimizer steps.
        gpu: whether there is one.
    """
    config = {key: recipe[key] for key in KEPT if key in recipe}
    config |= {
        "base_model": model, "load_in_4bit": case.quantised, "load_in_8bit": False,
        "adapter": "qlora" if case.quantised else "lora", "lora_dropout": recipe["lora_dropout"],
        "datasets": [{
            "path": data, "ds_type": "json", "type": "chat_template", "field_messages": "messages",
            "roles_to_train": ["assistant"], "train_on_eos": "turn",
        }],
        "dataset_prepared_path": f"{folder}/prepared", "output_dir": f"{folder}/{case.name}",
        "sequence_len": case.length, "sample_packing": True, "pad_to_sequence_len": True,
        "excess_length_strategy": "truncate", "micro_batch_size": case.rows,
        "gradient_accumulation_steps": 1, "gradient_checkpointing": False, "max_steps": steps,
        "num_epochs": 1000,
        "optimizer": "adamw_8bit" if case.rows == 1 else "adamw_torch_fused",
        "warmup_steps": 0, "val_set_size": 0, "save_strategy": "no", "use_tensorboard": False,
        "logging_steps": steps,  # for a line a step the program waits for the GPU, on either side
    }  # fmt: skip
    if case.shipped:
        for key in ("gradient_accumulation_steps", "optimizer", "logging_steps"):
            config[key] = recipe[key]
    if not case.quantised:
        config.pop("bnb_config_kwargs", None)
    plugins = ["plugins.falcon.benchmark.stopwatch.StopwatchPlugin"]
    if case.side == "ours":
        fused = "plugins.llama.LlamaPlugin" if case.llama else "plugins.falcon.FalconPlugin"
        plugins = [fused, *OURS, *plugins]
    if case.side != "ours" or case.llama:
        config.pop("falcon", None)
    if case.llama:
        config["lora_target_modules"] = LLAMA_LINEARS
    if case.side == "llama":
        config |= LIGER_KERNELS
        plugins = [LIGER, *plugins]
    elif case.side == "stock":
        config |= NO_KERNELS
    if not gpu:
        plugins = ["plugins.hardware.HardwarePlugin", *plugins]
    return config | {"plugins": plugins} | case.changes
