"""What Axolotl itself refuses, each with the key that its sentence names."""

from __future__ import annotations

import contextlib
import copy
import logging
import re
from collections.abc import Iterator
from typing import Any

from recipes.runner.check.finding import Finding
from recipes.runner.core.yaml_file import KeyPath

# A card that can do everything, so that a recipe is judged and not this machine.
_ANY_GPU = {"bf16": True, "fp8": True, "tf32": True, "n_gpu": 1, "compute_capability": "sm_90"}


# What Axolotl says in its log while it validates, of which a reader should know: a setting that it
# drops, or that fails later. Its advice (what is deprecated, recommended, slower) is not among it.
_TELLING = re.compile(
    r"ignor(ed|ing)|no effect|no-op|likely to raise|may result in|observed to|without any models"
    r"|superseded|sets the ID|only the first entry|doesn't work|to download completely"
)


def axolotl_refusals(config: dict[str, Any]) -> Iterator[Finding]:
    """Every fault that Axolotl's own validation finds, and what it says only in its log."""
    said: list[str] = []
    yield from _refused(config, said)
    for text in dict.fromkeys(said):
        if _TELLING.search(text):
            place = _named_in(text, config)
            yield Finding(place, f"Axolotl says: {text.rstrip('.')[:300]}", "", "warning")


class _Listener(logging.Handler):
    """Takes down what Axolotl logs."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.said.append(" ".join(record.getMessage().split()))


@contextlib.contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Hear Axolotl's warnings, and keep them from the terminal."""
    logger, before = logging.getLogger("axolotl"), logging.root.manager.disable
    handlers, propagates, level = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [_Listener(said)], False
    logger.setLevel(logging.WARNING)  # AXOLOTL_LOG_LEVEL may have raised it
    logging.disable(logging.NOTSET)
    try:
        yield
    finally:
        logging.disable(before)
        logger.handlers, logger.propagate = handlers, propagates
        logger.setLevel(level)


def _refused(config: dict[str, Any], said: list[str]) -> Iterator[Finding]:
    try:
        with _listening(said):
            validated(config)
    except Exception as error:  # Axolotl's validators raise what they like
        faults = getattr(error, "errors", None)
        if not callable(faults):
            text = " ".join(str(error).split()) or type(error).__name__
            what = f"Axolotl refuses it: {text[:300]}"
            # What this machine lacks says nothing about the recipe; training stops there anyway.
            here = "is not installed" in text or "pip install" in text
            yield Finding(_named_in(text, config), what, "", "warning" if here else "error")
            return
        for fault in faults():
            text = " ".join(str(fault["msg"]).split()).removeprefix("Value error, ")
            place = _place(fault["loc"], config)
            if fault["type"] == "missing":
                key = str(fault["loc"][-1])
                yield Finding(place, f"{key} is missing", "Add it")
            else:
                yield Finding(place or _named_in(text, config), text[:400])


def validated(config: dict[str, Any]) -> Any:
    """The configuration as Axolotl validates it, plugins' keys included, for a card that can all.

    Raises:
        pydantic.ValidationError: Axolotl refuses it.
    """
    from axolotl.integrations.base import PluginManager
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    manager = PluginManager.get_instance()
    manager.plugins.clear()
    for name in config.get("plugins") or []:
        manager.register(name)
    try:
        return validate_config(
            DictDefault(copy.deepcopy(config)),
            capabilities=_ANY_GPU,
            env_capabilities={"torch_version": "2.13.0"},
        )
    finally:
        manager.plugins.clear()


def _place(loc: tuple[int | str, ...], content: Any) -> KeyPath:
    """Where in the recipe a fault is: its location without the names of union members."""
    place: list[int | str] = []
    for step in loc:
        inside = content.get(step, _NOTHING) if isinstance(content, dict) else _NOTHING
        if isinstance(content, list) and isinstance(step, int) and step < len(content):
            inside = content[step]
        if inside is not _NOTHING:
            place.append(step)
            content = inside
    return tuple(place)


_NOTHING = object()


def _named_in(text: str, config: dict[str, Any]) -> KeyPath:
    """The first key of the recipe that a sentence names; none where it names none."""
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text)
    for bits in ("8", "4"):
        if f"{bits}bit" in text.replace("-", "") and config.get(f"load_in_{bits}bit"):
            return (f"load_in_{bits}bit",)
    for word in words:
        if word in config and ("_" in word or len(word) > 8):
            return (word,)
    # One that is an everyday word counts by its value, or where nothing else is named.
    values = {str(value): key for key, value in config.items() if isinstance(value, str)}
    quoted = re.findall(r"'([^']+)'", text)
    for word in (*quoted, *(word for word in words if len(word) > 3)):
        if word in values:
            return (values[word],)
    if named := next(((word.lower(),) for word in words if word.lower() in config), None):
        return named
    # SageAttention is attn_implementation: sage.
    lower = [word.lower() for word in words]
    for value, key in values.items():
        if len(value) > 3 and any(word.startswith(value.lower()) for word in lower):
            return (key,)
    return ()
