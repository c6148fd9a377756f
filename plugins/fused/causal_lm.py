"""A causal language model that gives a loss without logits where nobody wants the logits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from plugins.fused.loss import OPENING, find_target_rows, fused_cross_entropy
from recipes.runner.core.labels import IGNORE


class FusedLoss:
    """Goes before a ``...ForCausalLM`` of transformers in a class's bases."""

    logits_in_eval: bool = False
    """Whether metrics of an evaluation want the logits."""
    opening_weight: float = 1.0
    """In training, how much the first tokens of an answer count (`fused_cross_entropy`)."""
    opening_tokens: int = OPENING
    """How many they are."""

    def forward(self, *args: Any, labels: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """As the model's; with labels the fused path returns no logits."""
        model: Any = self
        head = model.lm_head
        target_rows = kwargs.pop("target_rows", None)
        asked = any(
            kwargs.get(key)
            for key in ("logits_to_keep", "output_attentions", "output_hidden_states")
        )
        other = "shift_labels" in kwargs or kwargs.get("return_dict") is False
        wants_logits = asked or other or (self.logits_in_eval and not model.training)
        if (
            labels is None
            or wants_logits
            or plain_class(head) is not nn.Linear
            or head.bias is not None
            or head.weight.requires_grad
        ):
            return super().forward(*args, labels=labels, **kwargs)  # type: ignore[misc]
        num_items = kwargs.pop("num_items_in_batch", None)
        positions = kwargs.get("position_ids")
        if positions is not None:
            # Predicted from the last token of the conversation before.
            labels = labels.masked_fill(positions == 0, IGNORE)
        kwargs.pop("logits_to_keep", None)
        if target_rows is None:
            target_rows = find_target_rows(labels)
        decoder = getattr(model, model.base_model_prefix)
        hidden = decoder(*args, **kwargs | {"use_cache": False}).last_hidden_state
        opening = self.opening_weight if model.training else 1.0

        def loss_of(head: Any, hidden: torch.Tensor) -> torch.Tensor:
            with torch.autocast(hidden.device.type, enabled=False):
                rows = hidden.to(head.weight.dtype)
                return fused_cross_entropy(
                    rows, head.weight, labels, target_rows, num_items, opening, self.opening_tokens
                )

        inside = isinstance(head, RunsInside)
        loss: Any = head(hidden, run_fused=loss_of) if inside else loss_of(head, hidden)
        return CausalLMOutputWithPast(loss=loss)


class RunsInside:
    """Goes before a module's class: called with ``run_fused``, it runs that, its weights whole."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: Any,
        run_fused: Callable[[Any, torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """What ``run_fused`` gives, or the module's own output."""
        if run_fused is None:
            return super().forward(hidden_states, *args, **kwargs)  # type: ignore[misc]
        return run_fused(self, hidden_states)


def put_before(mixin: type, instance: Any) -> None:
    """Give ``instance`` a class of its own name that has ``mixin`` before its class.

    The name stays, since transformers writes it into a saved model's ``architectures``, and FSDP
    finds a model's blocks by it.
    """
    instance.__class__ = _joined_class(mixin, plain_class(instance))


@functools.cache
def _joined_class(mixin: type, plain: Any) -> type:
    """One for all instances: FSDP asks whether a block is of the first one's class."""

    # The Trainer reads from its parameters which columns of a data set the model takes.
    @functools.wraps(plain.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return super(changed, self).forward(*args, **kwargs)  # type: ignore[arg-type]

    names = {"__module__": plain.__module__, "plain_class": plain, "forward": forward}
    changed: type = type(plain.__name__, (mixin, plain), names)
    return changed


def plain_class(instance: Any) -> type:
    """The class that ``instance`` had before `put_before`."""
    return getattr(type(instance), "plain_class", type(instance))
