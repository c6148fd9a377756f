"""What the Axolotl plugins of the fused path have in common: which part acts when."""

from __future__ import annotations

import os
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from torch import nn

from plugins.fused.args import FusedOptions
from plugins.fused.backends import FSDP2, ZERO3, Choice, Machine, also_chosen, choose
from plugins.fused.causal_lm import FusedLoss, put_before
from plugins.fused.fp8 import why_not_fp8
from plugins.fused.gathered import gather_whole_blocks
from plugins.fused.loss import WithTargetRows
from plugins.fused.memory import bytes_of_low_memory_pass, free_bytes
from plugins.fused.merge import merge_factor, merge_micro_batches
from plugins.fused.modes import QuickModes
from plugins.fused.run import Architecture, pass_shape
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import note_fallback
from recipes.runner.models.families import LORA_KERNELS
from recipes.runner.models.saved_adapter import MADE_BY_TRL


class FusedPlugin(BasePlugin):
    """Train packed without leaks, and fast where the machine can; an architecture says how.

    Attributes:
        key: the recipe's block of options.
        model_types: that the plugin is for.
        architecture: of their decoders.
        attends_in_modules: whether the grouped attention kernels run in transformers' modules too.
        pads_in_modules: whether a CPU's attention does, each packed sequence by itself.
    """

    key = "fused"
    model_types: tuple[str, ...] = ()
    architecture: Architecture
    attends_in_modules = False
    pads_in_modules = False

    def find(self, model: nn.Module) -> Any:
        """The model of a known class inside ``model``, which PEFT may wrap; None without one."""
        raise NotImplementedError

    def why_not_fused(self, found: Any) -> str:
        """Why some block of it can't be fused; empty when all can."""
        raise NotImplementedError

    def why_not_fp8(self, found: Any) -> str:
        """Why its frozen layers can't be multiplied in fp8; empty when they can."""
        layers = self.architecture.layers(getattr(found, found.base_model_prefix))
        return why_not_fp8(
            linear for layer in layers for linear in self.architecture.linears(layer)
        )

    def install(self, model: nn.Module, choice: Choice) -> None:
        """Put the fused path on it."""
        raise NotImplementedError

    def options(self, cfg: Any) -> FusedOptions:
        """The recipe's block, with defaults where it is silent."""
        return FusedOptions(**dict(cfg.get(self.key) or {}))

    def register(self, cfg: dict) -> None:
        """Switch off Axolotl's LoRA kernels, whose work the fused block does.

        Raises:
            UserError: the recipe asks for one of them.
        """
        if not self.options(cfg).enabled:
            return
        for key in LORA_KERNELS:
            if cfg.get(key):
                raise UserError(
                    f"Axolotl's LoRA kernels and {type(self).__name__} do the same work",
                    where=key,
                    todo="Remove the key: the plugin brings its own",
                )
            cfg[key] = False

    def pre_model_load(self, cfg: Any) -> None:
        """Refuse what the plugin is not for.

        Raises:
            UserError: another kind of model, rows that are cut across devices, or weights of
                tokens where whole answers are compared.
        """
        if cfg.model_config_type not in self.model_types:
            raise UserError(
                f"{type(self).__name__} is for model type {', '.join(self.model_types)},"
                f" not {cfg.model_config_type}",
                where="plugins",
                todo="Remove it from this recipe",
            )
        if cfg.rl and self.options(cfg).opening_weight != 1.0:
            raise UserError(
                "opening_weight is for supervised training, and rl compares whole answers",
                where=f"{self.key}.opening_weight",
                todo="Remove it from this recipe",
            )
        if (cfg.context_parallel_size or 1) > 1 and self.options(cfg).enabled:
            raise UserError(
                "the fused path holds whole rows, which context parallelism cuts",
                where="context_parallel_size",
                todo=f"Set it to 1, or {self.key}: {{enabled: false}}",
            )

    def pre_lora_load(self, cfg: Any, model: nn.Module) -> None:
        """Take back the lift of norms and of linear layers to float32: frozen, and multiplied in
        the dtype of the recipe, they stay in that. PEFT lifts what is not in 4 bits, and autocast
        takes it down again in every pass: of SmolLM2-135M with half of its weights in nf4 that was
        a tenth of a step on a CPU."""
        found = self.find(model)
        if not self.options(cfg).enabled or found is None or sharded(cfg):
            return
        for module in found.modules():
            norm = isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm")
            frozen = bool(cfg.adapter) and type(module) is nn.Linear
            if norm or frozen or isinstance(module, nn.Embedding) or module is found.lm_head:
                module.to(cfg.torch_dtype)

    def post_model_load(self, cfg: Any, model: nn.Module) -> None:
        """Set the model up, unless its adapters are still to come, with the trainer.

        Raises:
            UserError: the model lies on several devices.
        """
        if cfg.rl not in MADE_BY_TRL:
            self.set_up(cfg, model)

    def set_up(self, cfg: Any, model: nn.Module) -> None:
        """Keep packed sequences apart, and run as fast as this machine can.

        Raises:
            UserError: the model lies on several devices.
        """
        options, found = self.options(cfg), self.find(model)
        if not options.enabled or found is None:
            return
        places = set((getattr(found, "hf_device_map", None) or {}).values())
        if len(places) > 1:
            raise UserError(
                f"the model lies on {len(places)} devices, and the fused path runs on one",
                where="device_map",
                todo=f"Remove the key, or set {self.key}: {{enabled: false}}",
            )
        # Where the model will train: until the Trainer moves or cuts it, it may wait elsewhere.
        device = found.lm_head.weight.device
        if torch.cuda.is_available():
            device = torch.device("cuda")
        config, cut = found.config, sharded(cfg)
        head_dim = getattr(config, "head_dim", None)
        machine = Machine(
            device, training_dtype(cfg),
            head_dim or config.hidden_size // config.num_attention_heads,
            cut, self.why_not_fused(found), self.attends_in_modules, self.pads_in_modules,
            self.why_not_fp8(found) if options.compute == "fp8" else "", bool(cfg.deepspeed),
        )  # fmt: skip
        choice = choose(options, machine, self.architecture.name)
        self.install(model, choice)
        if model is not found:  # PEFT's, which has most of the modules
            put_before(QuickModes, model)
        if choice.gathered and cut == ZERO3:
            gather_whole_blocks(self.architecture.layers(getattr(found, found.base_model_prefix)))
        if not choice.block and choice.memory != "fast" and device.type == "cuda":
            # The modules keep several times what the fused block keeps. Weights that ZeRO-3 takes
            # away between forward and backward stop all but the reentrant kind.
            found.gradient_checkpointing_enable({"use_reentrant": cut == ZERO3})

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """Log a loss that is no number as it is: hiding it would wait for the GPU every step."""
        return {"logging_nan_inf_filter": False} if self.options(cfg).enabled else {}

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Merge micro-batches, and settle what the loss is given.

        Logits in evaluation when metrics want them; target rows where batches are made, so that
        nothing makes the program wait for the GPU between two steps. Preferences are packed here.

        Raises:
            UserError: the model lies on several devices.
        """
        options, found = self.options(cfg), self.find(trainer.model)
        if not options.enabled or found is None:
            return
        if cfg.rl in MADE_BY_TRL:
            self.set_up(cfg, trainer.model)
        if hasattr(trainer, "pack_pairs"):
            trainer.pack_pairs(found)
        if trainer.compute_metrics is not None:
            found.logits_in_eval = True
        if options.opening_weight != 1.0:
            self._weigh_openings(options, found)
        if isinstance(found, FusedLoss) and trainer.data_collator is not None:
            trainer.data_collator = WithTargetRows(trainer.data_collator)
        if options.merge_micro_batches:
            self._merge(trainer, found)

    def _weigh_openings(self, options: FusedOptions, found: Any) -> None:
        frozen_head = not found.lm_head.weight.requires_grad
        if isinstance(found, FusedLoss) and frozen_head:
            weight, tokens = options.opening_weight, options.opening_tokens
            found.opening_weight, found.opening_tokens = weight, tokens
            also_chosen(opening_weight=weight, opening_tokens=tokens)
            return
        reason = "the head is trained, or its loss is not fused here"
        note_fallback(f"{self.architecture.name}.opening_weight", "all tokens alike", reason)

    def _merge(self, trainer: Any, found: Any) -> None:
        decoder = getattr(found, found.base_model_prefix)
        state = getattr(decoder, "fused", None)
        if state is None or not state.choice.block or not hasattr(trainer, "tokens_of_row"):
            return
        if not getattr(trainer, "packs", True):
            return
        # DeepSpeed's engine has read the sizes already; FSDP2 has cut nothing yet, so that nobody
        # knows what will be free.
        if trainer.is_deepspeed_enabled or state.choice.gathered:
            return
        args = trainer.args
        shape = pass_shape(self.architecture, decoder, state)
        free = free_bytes(next(decoder.parameters()).device)
        micro, accumulation = args.per_device_train_batch_size, args.gradient_accumulation_steps
        factor = merge_factor(
            micro, accumulation, trainer.tokens_of_row(),
            lambda tokens: bytes_of_low_memory_pass(trainer.model, tokens, shape) <= free,
        )  # fmt: skip
        also_chosen(micro_batches_merged=factor)
        if factor > 1:
            merge_micro_batches(trainer, factor)


def training_dtype(cfg: Any) -> torch.dtype:
    """The dtype of activations: autocast's when it is on, else the model's."""
    if cfg.bf16:
        return torch.bfloat16
    return torch.float16 if cfg.fp16 else cfg.torch_dtype


def sharded(cfg: Any) -> str:
    """FSDP or ZeRO-3 by name; empty when every device holds whole parameters."""
    if cfg.fsdp_config or cfg.fsdp:
        version = cfg.fsdp_version or (cfg.fsdp_config or {}).get("fsdp_version")
        return FSDP2 if str(version) == "2" else "FSDP"
    # transformers' own answer hangs on an object that Axolotl has let go of by now.
    zero3 = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"
    return ZERO3 if zero3 else ""
