"""The SFT adapter under preference training: a copy is trained, a frozen one is the reference.

Axolotl 0.19 hands TRL the plain base and an adapter's configuration where `rl` is dpo, ipo or kto,
and reads `lora_model_dir` nowhere on that way: training would begin from the base, in silence, with
the base as its reference. Were the adapter loaded first, TRL 1.9 would refuse the configuration
beside it. So it is loaded here, once the trainer stands; TRL asks an adapter named ``ref`` for the
reference where there is one, and else the base with the adapter off. One base is in memory.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from recipes.runner.core.errors import UserError
from recipes.runner.core.paths import display_path

TRAINED, REFERENCE = "default", "ref"


def go_on_from(trainer: Any, folder: Path) -> None:
    """Give a trainer the SFT adapter as its start and as its reference.

    Args:
        trainer: TRL's, whose model has a new adapter ``default`` on it.
        folder: adapter_config.json and adapter_model.safetensors.

    Raises:
        UserError: the weights do not fit the adapter that the recipe describes.
    """
    from peft import set_peft_model_state_dict
    from peft.utils import load_peft_weights
    from trl.trainer.utils import disable_dropout_in_model

    model = trainer.model
    model.add_adapter(REFERENCE, model.peft_config[TRAINED])
    keep_in_fp32(model)  # before the weights come, which 16 bits would round
    weights = load_peft_weights(str(folder), device="cpu")
    for name in (TRAINED, REFERENCE):
        try:
            result: Any = set_peft_model_state_dict(model, weights, adapter_name=name)
        except RuntimeError as error:
            raise _unfit(folder, str(error).strip().splitlines()[-1].strip()) from None
        missing = [key for key in result.missing_keys if f".{name}." in key and "lora_" in key]
        if missing or result.unexpected_keys:
            raise _unfit(folder, [*missing, *result.unexpected_keys][0])
    model.set_adapter(TRAINED)
    for key, parameter in model.named_parameters():
        if f".{REFERENCE}." in key:
            parameter.requires_grad_(False)
    if getattr(trainer.args, "disable_dropout", True):
        disable_dropout_in_model(model)
    # A reference inside a checkpoint makes transformers restore that alone when it resumes; and it
    # is on disk already, where it came from.
    model.save_pretrained = functools.partial(model.save_pretrained, selected_adapters=[TRAINED])


def _unfit(folder: Path, what: str) -> UserError:
    return UserError(
        f"the SFT adapter does not fit the recipe's: {what}",
        display_path(folder),
        "Give the recipe its lora_r, lora_alpha and lora_target_modules",
    )


def keep_in_fp32(model: Any) -> None:
    """Hold what is trained in 32 bits, and the reference beside it.

    TRL casts the adapter of a quantised base to bfloat16, whose steps are 0.4% of a weight: at the
    learning rates of preference training most updates would round to nothing.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or f".{REFERENCE}." in name:
            parameter.data = parameter.data.to(torch.float32)


def save_no_base(model: Any) -> None:
    """Have the run's folder hold its adapter alone.

    Axolotl 0.19 saves the adapter, and then once more what it takes for the trained model, which
    here is the frozen base: 336 MB of SmolLM2-135M that nothing reads.
    """
    model.get_base_model().save_pretrained = lambda *args, **kwargs: None
