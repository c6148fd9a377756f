"""Make `load_in_4bit` and `load_in_8bit` quantise Falcon.

transformers replaces a linear layer by a bitsandbytes one only where ``type(module) is
nn.Linear``. Falcon's linears are ``FalconLinear``, a subclass that differs in the rounding of
the bias, so none is replaced and the model is trained at full width without a word.

`enable` needs no Axolotl: whatever loads a quantised Falcon (training, evaluation, chat, merge)
calls it once before ``from_pretrained``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, integrations
from transformers.integrations import bitsandbytes as bnb_integration
from transformers.models.falcon import modeling_falcon


def enable() -> bool:
    """Let transformers quantise Falcon's linears while loading; safe to call more than once.

    Returns:
        True when the hook stands (now or from an earlier call); False when this transformers
        quantises Falcon by itself, and nothing was touched.
    """
    falcon_linear = getattr(modeling_falcon, "FalconLinear", None)
    replace = getattr(bnb_integration, "replace_with_bnb_linear", None)
    if falcon_linear is None or replace is None:
        return False  # upstream has gone another way, and the guard says what came of it
    if getattr(replace, "quantises_falcon", False):
        return True
    if _upstream_quantises_falcon(falcon_linear):
        return False
    hooked = _with_plain_linears(replace, falcon_linear)
    # The quantisers import the function from the package when they are called, not at import.
    bnb_integration.replace_with_bnb_linear = hooked
    integrations.replace_with_bnb_linear = hooked  # type: ignore[attr-defined]
    return True


def _with_plain_linears(
    replace: Callable[..., nn.Module], falcon_linear: type[nn.Module]
) -> Callable[..., nn.Module]:
    """Wrap ``replace`` so that it sees every FalconLinear as the nn.Linear that it is."""

    @wraps(replace)
    def replace_falcon_too(model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        falcon_linears: list[nn.Module] = [m for m in model.modules() if type(m) is falcon_linear]
        for module in falcon_linears:
            module.__class__ = nn.Linear
        try:
            return replace(model, *args, **kwargs)
        finally:
            # Those left unquantised (llm_int8_skip_modules) stay what they were.
            for module in falcon_linears:
                module.__class__ = falcon_linear

    replace_falcon_too.quantises_falcon = True  # type: ignore[attr-defined]
    return replace_falcon_too


def _upstream_quantises_falcon(falcon_linear: Any) -> bool:
    """Ask the installed transformers itself, on one linear without storage."""
    with torch.device("meta"):
        probe = nn.Module()
        probe.linear = falcon_linear(8, 8, bias=False)
    # Finding nothing to replace is the answer sought here, not a warning to the user.
    bnb_integration.logger.disabled = True
    try:
        bnb_integration.replace_with_bnb_linear(
            probe, [], BitsAndBytesConfig(load_in_4bit=True), pre_quantized=False
        )
    finally:
        bnb_integration.logger.disabled = False
    return type(probe.linear) is not falcon_linear
