"""Stop a run whose `load_in_4bit` or `load_in_8bit` left layers under the adapter unquantised.

transformers skips layers it doesn't know and says so at most in a log line; the run then takes
several times the memory, and the adapter is trained over another base than the recipe names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from axolotl.integrations.base import BasePlugin
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from recipes.runner.core.errors import UserError


def unquantised_targets(model: nn.Module, bits: int, kept: Collection[str] = ()) -> Counter[str]:
    """Count the linear layers under an adapter that are not bitsandbytes layers of ``bits`` bits.

    Embeddings and the language model head are not counted: bitsandbytes leaves them alone.

    Args:
        model: a PEFT model.
        bits: 4 or 8.
        kept: names of layers that the recipe keeps in 16 bits; they are not counted either.

    Returns:
        Class name of the layer found in place of a quantised one, and how many there are.
    """
    from bitsandbytes import nn as bnb

    wanted = {4: bnb.Linear4bit, 8: bnb.Linear8bitLt}[bits]
    get_head = getattr(model, "get_output_embeddings", None)
    head = get_head() if get_head else None
    bases = [
        module.get_base_layer()
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
        and module is not head
        and not isinstance(module, TrainableTokensLayer)  # of embeddings, or of a head tied to them
        and not set(name.split(".")).intersection(kept)
    ]
    return Counter(
        type(base).__name__
        for base in bases
        if not isinstance(base, (wanted, nn.Embedding)) and base is not head
    )


def check_quantised(
    model: nn.Module, *, load_in_4bit: bool, load_in_8bit: bool, kept: Collection[str] = ()
) -> None:
    """Raise unless every layer under the adapter is quantised as asked, those of ``kept`` aside.

    Raises:
        UserError: some layer is not; the line names the count and the class.
    """
    if not (load_in_4bit or load_in_8bit):
        return
    bits = 4 if load_in_4bit else 8
    left = unquantised_targets(model, bits, kept)
    if left:
        found = ", ".join(f"{count} x {name}" for name, count in left.most_common())
        raise UserError(
            f"{left.total()} of the layers under the adapter are not {bits}-bit ({found})",
            where=f"load_in_{bits}bit",
            todo=(
                f"This transformers does not quantise them: set load_in_{bits}bit: false and"
                " adapter: lora, or name the plugin that does (plugins.falcon.FalconPlugin)"
            ),
        )


class QuantizationGuardPlugin(BasePlugin):
    """`check_quantised` for any recipe, as soon as the adapter stands and before training."""

    def post_lora_load(self, cfg: Any, model: nn.Module) -> None:
        """Raise `UserError` when the base under the adapter is not quantised as asked."""
        self._check(cfg, model)

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """The same of preferences, whose adapter comes with the trainer."""
        if cfg.rl and cfg.adapter:
            self._check(cfg, trainer.model)

    def _check(self, cfg: Any, model: nn.Module) -> None:
        check_quantised(
            model,
            load_in_4bit=bool(cfg.load_in_4bit),
            load_in_8bit=bool(cfg.load_in_8bit),
            kept=(cfg.bnb_config_kwargs or {}).get("llm_int8_skip_modules") or (),
        )
