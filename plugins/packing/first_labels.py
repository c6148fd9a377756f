"""Labels that no token of their own conversation predicts are taken out of a packed batch."""

from __future__ import annotations

from typing import Any

import torch

from plugins.collators import OverCollator
from recipes.runner.core.labels import IGNORE


class WithoutFirstLabels(OverCollator):
    """A collator whose labels begin with the second token of each conversation.

    A label is predicted from the token before it. The first token of a packed conversation has
    another conversation's last token there; that of a row has nothing. Where prompts are masked
    these labels are `IGNORE` anyway; with ``train_on_inputs`` or completion data they are not.

    Args:
        collate: the collator of the trainer.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the collator's."""
        batch = self.collate(*args, **kwargs)
        if "labels" in batch:
            batch["labels"] = mask_first(
                torch.as_tensor(batch["labels"]), batch.get("position_ids")
            )
        return batch


def mask_first(labels: torch.Tensor, position_ids: torch.Tensor | None) -> torch.Tensor:
    """[B, T] labels, `IGNORE` where a conversation begins.

    Args:
        labels: [B, T].
        position_ids: [B, T], 0 at the first token of a conversation; None where each row is one.
    """
    first = torch.zeros_like(labels, dtype=torch.bool)
    first[:, 0] = True
    if position_ids is not None:
        first |= torch.as_tensor(position_ids) == 0
    return labels.masked_fill(first, IGNORE)
