"""Reward margin at each evaluation, and a warning when what is chosen grows less likely."""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import Any

from transformers import TrainerCallback

from recipes.runner.core.terminal import send

_WINDOW = 8  # logged steps: one batch's pairs tell of those pairs alone


class PreferenceWatch(TrainerCallback):
    """Says how far chosen and rejected have parted, and which of them moved.

    DPO's loss falls as long as the margin grows, also when chosen and rejected both grow less
    likely and the rejected one faster; what takes their place is nobody's answer (Pal et al.,
    "Smaug", 2024; Razin et al., "Unintentional unalignment", 2024). The reward of chosen is beta
    times the change of its log probability from the reference, so that no further pass is needed.

    Args:
        beta: of the loss.
        fall: warn once when chosen's log probability has fallen by this share of the reference's.

    Attributes:
        warning: the warning's text once it was given.
    """

    def __init__(self, beta: float, fall: float) -> None:
        self.beta = beta
        self.fall = fall
        self.warning: str | None = None
        self._falls: deque[float] = deque(maxlen=_WINDOW)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Warn when chosen has fallen over the last steps."""
        logs = logs or {}
        if "eval_rewards/margins" in logs:
            self._tell(state, logs)
        share = _change(logs, "", self.beta)
        if share is None:
            return
        self._falls.append(share)
        if len(self._falls) == _WINDOW:
            self._look(state, fmean(self._falls), "over the last steps")

    def _tell(self, state: Any, logs: dict[str, Any]) -> None:
        if state.global_step == 0:
            return  # there the model is its own reference
        margin, right = logs["eval_rewards/margins"], logs.get("eval_rewards/accuracies")
        said = f"step {state.global_step}: held-out reward margin {margin:+.3f}"
        if right is not None:
            said += f", chosen ahead in {right:.0%} of pairs"
        send("note", text=said)
        share = _change(logs, "eval_", self.beta)
        if share is not None:
            self._look(state, share, "on held-out pairs")

    def _look(self, state: Any, share: float, where: str) -> None:
        if self.warning is not None or share > -self.fall:
            return
        self.warning = (
            f"step {state.global_step}: the chosen answers have grown less likely, {where}: their"
            f" log probability has fallen by {-share:.0%} of the reference's. The margin grows by"
            " unlearning alone, and answers that nobody preferred take their place: lower the"
            " learning rate, raise rl_beta, or stop earlier"
        )
        send("warning", text=self.warning)


def _change(logs: dict[str, Any], prefix: str, beta: float) -> float | None:
    """Chosen's change of log probability, as a share of the reference's; below 0 for a fall."""
    reward, logp = logs.get(f"{prefix}rewards/chosen"), logs.get(f"{prefix}logps/chosen")
    if reward is None or logp is None or not beta:
        return None
    change = float(reward) / beta
    reference = float(logp) - change
    return change / abs(reference) if reference else None


def figures(logs: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """What the run record keeps of a log line.

    Returns:
        ``reward_margin`` and the rewards of both sides (beta times the change of a log
        probability), ``reward_accuracy`` (share of pairs with chosen ahead), and the log
        probabilities (nats an answer); nothing of a log line without preferences.
    """
    names = {
        "reward_margin": "rewards/margins",
        "reward_accuracy": "rewards/accuracies",
        "chosen_reward": "rewards/chosen",
        "rejected_reward": "rewards/rejected",
        "chosen_logp": "logps/chosen",
        "rejected_logp": "logps/rejected",
    }
    return {name: float(logs[prefix + key]) for name, key in names.items() if prefix + key in logs}
