"""How often a recipe's trainer runs the model over a row: one pass for SFT, several for `rl`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from recipes.runner.models.families import Family
from recipes.runner.models.saved_adapter import names_preference_plugin


@dataclass(frozen=True)
class Passes:
    """What one row of a micro-batch becomes.

    Attributes:
        sequences: trained at once, each up to ``sequence_len``: chosen and rejected make 2.
        forward_only: further sequences without gradients (by the reference, or for KTO's KL term).
        reference: whether another policy is asked, by switching the adapter off or by a copy.
        unknown: what can't be estimated of it, in words; empty where all can.
    """

    sequences: int = 1
    forward_only: int = 0
    reference: bool = False
    unknown: str = ""


_GENERATES = "it also generates answers while it trains, whose cache and time are not estimated"
# As TRL's trainers run them (trl 1.9: concatenated chosen and rejected in `DPOTrainer`, the KL
# completions of `KTOTrainer`, no reference in ORPO and SimPO).
_BY_RL = {
    "dpo": Passes(2, 2, reference=True),
    "ipo": Passes(2, 2, reference=True),
    "orpo": Passes(2),
    "simpo": Passes(2),
    "kto": Passes(1, 3, reference=True),
    "grpo": Passes(1, 1, reference=True, unknown=_GENERATES),
    "gdpo": Passes(1, 1, reference=True, unknown=_GENERATES),
    "ebft": Passes(1, 1, reference=True, unknown=_GENERATES),
}


def passes_of(config: Mapping[str, Any]) -> Passes:
    """The passes of a recipe over a row; an ``rl`` that is not known counts as one, and is said."""
    rl = config.get("rl")
    if not rl:
        # TRL's `RewardTrainer` puts chosen and rejected into one batch, as DPO's does.
        return Passes(2) if config.get("reward_model") else Passes()
    known = _BY_RL.get(str(rl).lower())
    if known and config.get("precompute_ref_log_probs"):
        return replace(known, forward_only=0, reference=False)  # asked before the first step
    return known or Passes(unknown=f"rl: {rl} is not known here, and counted as plain training")


def gives_rewards(config: Mapping[str, Any]) -> bool:
    """Whether the model ends in a number or two for a token, and not in logits."""
    return bool(config.get("reward_model") or config.get("process_reward_model"))


def packs_pairs(config: Mapping[str, Any], family: Family) -> bool:
    """Whether a micro-batch's answers are laid end to end, and take no whole logits
    (plugins/preference/packed.py)."""
    known = config.get("rl") in ("dpo", "ipo", "kto")
    return known and family.fused_path(config) and names_preference_plugin(config)


def copies_reference(config: Mapping[str, Any]) -> bool:
    """Whether the reference is a second model; with an adapter it is the same one without it."""
    asked = _BY_RL.get(str(config.get("rl")).lower(), Passes()).reference
    return asked and not (config.get("adapter") and not config.get("rl_adapter_ref_model"))
