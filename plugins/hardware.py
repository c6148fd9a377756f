"""Fit a recipe to the machine it runs on: 16-bit dtype, and plain paths where there is no GPU."""

from __future__ import annotations

import copy
import gc
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from axolotl.integrations.base import BasePlugin
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy

from plugins.cpu_casts import leave_casts_to_autocast
from plugins.cpu_lora import join_products
from recipes.runner.core.fallbacks import note_fallback
from recipes.runner.models.families import LORA_KERNELS

_CPU_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "adafactor")


class HardwarePlugin(BasePlugin):
    """What `auto` means here. With a GPU: bf16 where the card has it, else fp16."""

    def register(self, cfg: dict) -> None:
        """Settle dtype, kernels and optimizer before Axolotl validates them."""
        if torch.cuda.is_available():
            if cfg.get("bf16") == "auto" and not torch.cuda.is_bf16_supported(
                including_emulation=False
            ):
                note_fallback("dtype", "fp16", "this card has no bf16")
            return
        _fit_to_cpu(cfg)

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Say where the model goes: the first hook after Axolotl has settled it, the last before.

        Axolotl counts on a device for each rank, which a CPU is not; and under a launcher it leaves
        the place of one process open, so that a 16-bit model is read into the machine's memory
        first, whole, and moved from there.
        """
        several = bool(cfg.world_size and cfg.world_size > 1)
        if torch.cuda.is_available():
            if not (several or cfg.device_map or cfg.deepspeed or cfg.fsdp_config or cfg.fsdp):
                cfg.device_map = {"": torch.cuda.current_device()}
        elif several:
            cfg.device_map = {"": "cpu"}
        leave_imports_alone()

    def pre_model_load(self, cfg: Any) -> None:
        """Say the dtype of ZeRO-3's shards, which are cut while the model is built."""
        if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3":
            cfg.deepspeed = with_dtype(cfg.deepspeed, bool(cfg.bf16), bool(cfg.fp16))
        leave_imports_alone()

    def post_model_load(self, cfg: Any, model: nn.Module) -> None:
        """Keep 4-bit weights trainable through on a CPU."""
        if not torch.cuda.is_available():
            keep_gradients_on_cpu(model)

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """Tell the Trainer that the CPU is meant, which it otherwise takes for a mistake."""
        return {} if torch.cuda.is_available() else {"use_cpu": True}

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Keep FSDP2 from rounding each loss to 16 bits, and gradients while they are summed.

        LoRA layers on a CPU cast nothing that autocast casts back, and multiply in fewer steps. DDP
        leaves gradients where ranks have summed them, in place of copying them back.

        accelerate has a model's outputs cast to the dtype of computing. At a loss of 10 bfloat16
        has steps of 0.06, and the best checkpoint would be a matter of chance.
        """
        if not torch.cuda.is_available():
            leave_casts_to_autocast(trainer.model)
            join_products(trainer.model)
        ddp = getattr(trainer.accelerator, "ddp_handler", None)
        if ddp is not None:
            ddp.gradient_as_bucket_view = True
        plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
        policy = getattr(plugin, "mixed_precision_policy", None)
        if plugin is not None and isinstance(policy, MixedPrecisionPolicy):
            plugin.mixed_precision_policy = replace(
                policy, output_dtype=None, reduce_dtype=torch.float32
            )


def leave_imports_alone() -> None:
    """Leave what is there by now, the model not yet, out of garbage collections.

    Axolotl collects garbage at each of its estimates of a run's steps, when a model is loaded and
    after every checkpoint, and each time Python would walk all that the imports have made and that
    stays: a third of the processor's time of a run of six steps.
    """
    gc.freeze()


def keep_gradients_on_cpu(model: nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit weights for inference when the model evaluates.

    On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a layer's weights the first time it runs in
    eval mode, for good. Its kernel for that format has no backward: after the first evaluation
    the gradient of every layer below is wrong, with a warning at most, and nothing is learnt.
    """
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def with_dtype(config: dict[str, Any] | str, bf16: bool, fp16: bool) -> dict[str, Any]:
    """DeepSpeed's configuration, or that of a file, with the dtype in place of ``auto``.

    The Trainer fills in ``auto`` when the model has long been built, and DeepSpeed would hold a
    16-bit base in float32: twice the memory, and twice as much on its way.
    """
    filled: dict[str, Any]
    if isinstance(config, str):
        filled = json.loads(Path(config).read_text(encoding="utf-8"))
    else:
        filled = copy.deepcopy(dict(config))
    for key, enabled in (("bf16", bf16), ("fp16", fp16)):
        if (filled.get(key) or {}).get("enabled") == "auto":
            filled[key]["enabled"] = enabled
    return filled


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; without that bf16 is slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _fit_to_cpu(cfg: dict) -> None:
    note_fallback("device", "the CPU", "this machine has no CUDA GPU")
    if cfg.get("bf16") == "auto" or cfg.get("fp16"):
        cfg["bf16"] = bool(cfg.get("bf16") == "auto" and cpu_has_bf16())
        cfg["fp16"] = False
        if not cfg["bf16"]:
            note_fallback("dtype", "float32", "this CPU has no bfloat16 in hardware")
    cfg["tf32"] = False
    for key in LORA_KERNELS:
        # Axolotl switches them on where they are unset, and they need CUDA.
        cfg[key] = False
    optimizer = str(cfg.get("optimizer") or "adamw_torch")
    if optimizer not in _CPU_OPTIMIZERS:
        note_fallback("optimizer", "adamw_torch", f"{optimizer} needs a GPU")
        cfg["optimizer"] = "adamw_torch"
    for key in [key for key in cfg if str(key).startswith("liger_")]:
        if cfg[key]:
            note_fallback("liger", "plain modules", "its kernels need a GPU")
            cfg[key] = False
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        cfg["device_map"] = {"": "cpu"}
    else:
        _meet_over_gloo()


def _meet_over_gloo() -> None:
    """Join the ranks that the launcher started, before anyone asks accelerate who is there.

    Without a device accelerate counts one process, whatever was launched, unless it was told at
    its first start that the CPU is meant; every rank would train the whole run by itself.
    """
    os.environ["ACCELERATE_USE_CPU"] = "true"
    # Else accelerate numbers the CPU (cpu:0), and PyTorch reads no checkpoint onto a numbered one.
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    PartialState(cpu=True)
