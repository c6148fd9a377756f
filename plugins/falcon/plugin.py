"""The Axolotl plugin: which part of this package acts when."""

from __future__ import annotations

import os
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from torch import nn

from plugins.falcon import quantization
from plugins.falcon.model import find_falcon, install, why_not_fused
from plugins.fused.args import FusedOptions
from plugins.fused.backends import Machine, choose
from plugins.fused.causal_lm import FusedLoss
from plugins.fused.loss import WithTargetRows
from recipes.runner.core.errors import UserError

ZERO3 = "DeepSpeed ZeRO-3"
LORA_KERNELS = ("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel")


def options_of(cfg: Any) -> FusedOptions:
    """The recipe's `falcon:` block, with defaults where it is silent."""
    return FusedOptions(**dict(cfg.get("falcon") or {}))


class FalconPlugin(BasePlugin):
    """Train Falcon quantised when asked, packed without leaks, and fast where the machine can."""

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of the `falcon:` block."""
        return "plugins.falcon.args.FalconArgs"

    def register(self, cfg: dict) -> None:
        """Switch off Axolotl's LoRA kernels, which stop on Falcon's fused query_key_value.

        Raises:
            UserError: the recipe asks for one of them.
        """
        for key in LORA_KERNELS:
            if cfg.get(key):
                raise UserError(
                    "Axolotl's LoRA kernels don't know Falcon's fused query_key_value",
                    where=key,
                    todo="Remove the key: the Falcon plugin brings its own",
                )
            cfg[key] = False

    def pre_model_load(self, cfg: Any) -> None:
        """Let the loader quantise Falcon, and refuse models that this plugin is not for.

        Raises:
            UserError: not a Falcon, or packing asked of a Falcon with alibi.
        """
        if cfg.model_config_type != "falcon":
            raise UserError(
                f"FalconPlugin is for model type falcon, not {cfg.model_config_type}",
                where="plugins",
                todo="Remove it from this recipe",
            )
        if options_of(cfg).enabled:
            quantization.enable()

    def post_model_build(self, cfg: Any, model: nn.Module) -> None:
        """Refuse packing that can't be right.

        Raises:
            UserError: packing asked of a Falcon with alibi.
        """
        config: Any = model.config
        if options_of(cfg).enabled and cfg.sample_packing and config.alibi:
            raise UserError(
                "this Falcon has alibi positions, and packed conversations would share them",
                where="sample_packing",
                todo="Set sample_packing: false",
            )

    def pre_lora_load(self, cfg: Any, model: nn.Module) -> None:
        """Take back the lift of norms to float32: they stay in the dtype of the recipe."""
        falcon = find_falcon(model)
        if not options_of(cfg).enabled or falcon is None or _sharded(cfg):
            return
        for module in falcon.modules():
            if isinstance(module, (nn.LayerNorm, nn.Embedding)) or module is falcon.lm_head:
                module.to(cfg.torch_dtype)

    def post_model_load(self, cfg: Any, model: nn.Module) -> None:
        """Keep packed sequences apart, and run as fast as this machine can."""
        options = options_of(cfg)
        falcon = find_falcon(model)
        if not options.enabled or falcon is None:
            return
        config: Any = falcon.config
        head_dim = config.hidden_size // config.num_attention_heads
        sharded = _sharded(cfg)
        # Where the model will train: until the Trainer moves or cuts it, it may wait elsewhere.
        device = falcon.lm_head.weight.device
        if torch.cuda.is_available():
            device = torch.device("cuda")
        machine = Machine(
            device, _training_dtype(cfg), head_dim, sharded, why_not_fused(falcon),
            attends_in_modules=True,
        )  # fmt: skip
        choice = choose(options, machine, "falcon")
        install(model, choice)
        if not choice.block and choice.memory != "fast" and device.type == "cuda":
            # The modules keep several times what the fused block keeps. Weights that ZeRO-3 takes
            # away between forward and backward stop all but the reentrant kind.
            falcon.gradient_checkpointing_enable({"use_reentrant": sharded == ZERO3})

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """Log a loss that is no number as it is: hiding it would wait for the GPU every step."""
        return {"logging_nan_inf_filter": False} if options_of(cfg).enabled else {}

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Give logits in evaluation when metrics want them, and target rows where batches are made.

        Nothing then makes the program wait for the GPU between two steps.
        """
        falcon: Any = find_falcon(trainer.model)
        if falcon is None:
            return
        if trainer.compute_metrics is not None:
            falcon.logits_in_eval = True
        if isinstance(falcon, FusedLoss) and trainer.data_collator is not None:
            trainer.data_collator = WithTargetRows(trainer.data_collator)


def _training_dtype(cfg: Any) -> torch.dtype:
    """The dtype of activations: autocast's when it is on, else the model's."""
    if cfg.bf16:
        return torch.bfloat16
    return torch.float16 if cfg.fp16 else cfg.torch_dtype


def _sharded(cfg: Any) -> str:
    """FSDP or ZeRO-3 by name; empty when every device holds whole parameters."""
    if cfg.fsdp_config or cfg.fsdp:
        return "FSDP"
    # transformers' own answer hangs on an object that Axolotl has let go of by now.
    zero3 = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"
    return ZERO3 if zero3 else ""
