"""What the trainers of packed preferences share: when they pack, and the reference's pass."""

from __future__ import annotations

from typing import Any

import torch
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import use_adapter

from plugins.fused.causal_lm import put_before
from plugins.fused.log_probability import LogProbabilities, why_not_chunked
from plugins.fused.loss import ROWS_MULTIPLE
from plugins.preference.pack import PackPairs
from recipes.runner.core.fallbacks import note_fallback


class PacksPreferences:
    """Goes before a trainer of TRL's in a class's bases."""

    data_collator: Any
    packs: bool = False
    packer: type[PackPairs] = PackPairs

    def pack_pairs(self, model: Any) -> None:
        """Pack from now on, where settings and model allow it.

        Args:
            model: the causal language model, whose decoder keeps packed sequences apart.
        """
        trainer: Any = self
        reason = self._shards_or_alibi(model) or self._unknown() or why_not_chunked(model)
        if reason:
            note_fallback("preference.packing", "padded rows and whole logits", reason)
            return
        put_before(LogProbabilities, model)
        on_gpu = trainer.args.device.type == "cuda"
        self.data_collator = self.packer(self.data_collator, ROWS_MULTIPLE if on_gpu else 1)
        self.packs = True

    def _shards_or_alibi(self, model: Any) -> str:
        trainer: Any = self
        deepspeed = trainer.accelerator.state.deepspeed_plugin
        if trainer.is_fsdp_enabled or (deepspeed is not None and deepspeed.zero_stage == 3):
            return "weights are cut into shards"
        if getattr(model.config, "alibi", False):
            return "this model has alibi positions, which packed sequences would share"
        return ""

    def _unknown(self) -> str:
        """What the packed way doesn't know of the settings; empty for nothing."""
        raise NotImplementedError

    def _asked(self) -> list[str]:
        """Settings of both kinds of trainer that the packed way doesn't know."""
        trainer: Any = self
        given = {
            "precompute_ref_log_probs": trainer.precompute_ref_logps,
            "a liger loss": trainer.use_liger_kernel, "a second model": trainer.ref_model,
            "metrics over logits": trainer.compute_metrics, "routers": trainer.aux_loss_enabled,
            "images": trainer._is_vision_dataset,
        }  # fmt: skip
        return [name for name, value in given.items() if value]

    def _reference(self, asked: dict[str, Any]) -> torch.Tensor:
        """[sequences] log probabilities by the frozen SFT adapter, or by the plain base."""
        trainer: Any = self
        model = trainer.accelerator.unwrap_model(trainer.model)
        name = "ref" if "ref" in model.peft_config else None
        checkpointing = trainer.args.gradient_checkpointing_kwargs
        with (
            torch.no_grad(),
            disable_gradient_checkpointing(trainer.model, checkpointing),
            use_adapter(model, name),
        ):
            found: torch.Tensor = trainer.model(**asked).log_probabilities
            return found
