"""Another run's tuned model in base's place: both adapters on one base."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from eval.generation.arms import (
    LocalArm,
    local_arms,
    misfits_said,
    refuse_strange,
    tuned_digest,
)
from eval.generation.base_model import Base
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path
from recipes.runner.run.finished import Run

_ADAPTER = "reference"


class ReferenceArm(LocalArm):
    """The tuned arm of another run; its answers are kept where that run's own evaluation does."""

    @contextlib.contextmanager
    def active(self) -> Iterator[Any]:
        """The model, with the other run's adapter on and this run's off."""
        mine = self.model.active_adapter
        self.model.set_adapter(_ADAPTER, inference_mode=True)
        try:
            yield self.model
        finally:
            self.model.set_adapter(mine, inference_mode=True)


def reference_arms(run: Run, other: Run, base: Base) -> tuple[ReferenceArm, LocalArm]:
    """Both arms from one load of the base: (the other run's tuned model, this run's).

    Raises:
        UserError: an adapter does not fit the base or changes nothing, or both answer alike.
    """
    _, tuned = local_arms(run, base)
    with misfits_said(other):
        found = tuned.model.load_adapter(
            str(other.path), adapter_name=_ADAPTER, autocast_adapter_dtype=False
        )
    refuse_strange(other, found.unexpected_keys)
    eot = list(other.config.get("eot_tokens") or [])
    reference = ReferenceArm("tuned", base, tuned.model, tuned_digest(other, base), eot)
    if not float((reference.probe() - tuned.probe()).abs().max()) > 0:
        raise UserError(
            "has the same logits as the run that is evaluated",
            display_path(other.path),
            "Check that training ran, and that it saved the trained adapter",
        )
    return reference, tuned
