"""What a run came to, read from its record: the checkpoint that is kept, and what it cost."""

from __future__ import annotations

from typing import Any

_LOST = (
    ("false_alarms", "harmless", 1, "{now} of {n} harmless messages are met as a crisis"),
    ("help", "in_danger", -1, "{now} of {n} people in danger are named help"),
    ("loops", "answers", 1, "{now} of {n} answers loop"),
)
_A_TREND = 2  # answers: one more or less is none


def checkpoint_step(checkpoint: str | None) -> int | None:
    """The step in a checkpoint's name; None when there is none."""
    number = str(checkpoint or "").rpartition("-")[2]
    return int(number) if number.isdigit() else None


def kept_evaluation(record: dict[str, Any]) -> dict[str, Any] | None:
    """The evaluation of the checkpoint that is kept: the best one by the recipe's rule.

    None where the run measured no held-out loss.
    """
    evaluations = record.get("evaluations") or []
    step = checkpoint_step(record.get("best_checkpoint"))
    kept = [point for point in evaluations if point["step"] == step]
    measured = [point for point in evaluations if point.get("held_out_loss") is not None]
    if kept or not measured:
        return kept[0] if kept else None
    return min(measured, key=lambda point: float(point["held_out_loss"]))


def price(record: dict[str, Any]) -> str:
    """What the answers of the kept checkpoint lost since before the first step, in words.

    Of the few that are asked while it trains; empty where nothing was lost by more than one answer,
    or nothing was asked.
    """
    evaluations: list[dict[str, Any]] = record.get("evaluations") or []
    first: dict[str, Any] = next((p for p in evaluations if p.get("step") == 0), {})
    before = first.get("answers") or {}
    now = (kept_evaluation(record) or {}).get("answers") or {}
    said = []
    for key, of, sign, words in _LOST:
        count = now.get(of)
        if not count or before.get(key) is None or now.get(key) is None:
            continue
        earlier, later = round(before[key] * count), round(now[key] * count)
        if sign * (later - earlier) >= _A_TREND:
            said.append(f"{words.format(now=later, n=count)}, {earlier} before")
    return "; ".join(said)
