"""Yes/no variables of the environment: FORCE, PREFLIGHT, PUBLIC, WITHOUT_EVAL."""

from __future__ import annotations

import os

from recipes.runner.core.errors import UserError

_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


def flag(name: str, default: bool = False) -> bool:
    """Whether a variable says yes.

    Args:
        name: the variable.
        default: what one that is not there, or empty, means.

    Raises:
        UserError: it says something else than yes or no.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if text.lower() not in (*_YES, *_NO):
        raise UserError(f"{text!r} is neither yes nor no", name, f"{name}=1 or {name}=0")
    return text.lower() in _YES
