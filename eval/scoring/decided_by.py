"""What a verdict was decided by: digests of suites and of the code that judged them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from eval.suite import Suite
from recipes.runner.run.fingerprint import digest, file_digest

_EVAL = Path(__file__).parents[1]
_PREP = _EVAL.parent / "datasets_prep"


def decided_by(suites: Sequence[Suite]) -> dict[str, Any]:
    """Digests that must be equal for two verdicts to mean the same.

    Returns:
        ``suites`` (by name: prompts, checks, gates, margins and metric), ``code`` (checks, metrics,
        statistics, gates, crisis wording and loops), ``named`` (by suite: its gates and checks in
        words, so that a difference can be told).
    """
    return {
        "suites": {s.name: digest(s.model_dump(mode="json"))[:16] for s in suites},
        "code": _code_digest()[:16],
        "named": {
            s.name: {
                "metric": f"{s.primary.metric}, margin {s.primary.margin:g}",
                "gates": sorted(g.gate for g in s.gates),
                "checks": sorted({c.name for p in s.prompts for c in s.checks_of(p)}),
                "prompts": len(s.prompts),
            }
            for s in suites
        },
    }


def scored_by_other_code(summary: dict[str, Any]) -> bool:
    """Whether a summary's verdicts are of other checks, metrics or statistics than those here."""
    return (summary.get("decided_by") or {}).get("code") != _code_digest()[:16]


@cache
def _code_digest() -> str:
    files = sorted(
        [
            *(_EVAL / "checks").rglob("*.*"),
            *(_EVAL / "scoring").glob("*.py"),
            _EVAL / "suite.py",
            _EVAL / "answers.py",
            _PREP / "crisis.py",
            _PREP / "loops.py",
        ]
    )
    kept = [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    return digest([[str(path.relative_to(_EVAL.parent)), file_digest(path)] for path in kept])
