"""A recipe's tokenizer and chat template, as far as they can be known without loading either."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from recipes.runner.check.base_model import cached_file, local_folder, model_json
from recipes.runner.core.paths import is_file

# Of bases whose shape is kept and whose tokenizer may not be here: the end token, as in each one's
# own tokenizer_config.json, and those that come without a chat template.
_ENDS = {
    **dict.fromkeys(
        ("tiiuae/falcon-7b", "tiiuae/falcon-7b-instruct", "tiiuae/falcon-40b", "tiiuae/falcon-11B"),
        "<|endoftext|>",
    ),
    "Qwen/Qwen2.5-7B-Instruct": "<|im_end|>",
    "mistralai/Mistral-7B-Instruct-v0.3": "</s>",
}
_WITHOUT_TEMPLATE = ("tiiuae/falcon-7b", "tiiuae/falcon-40b", "tiiuae/falcon-11B")
DEFAULT = "tokenizer_default"
FALLBACK = "tokenizer_default_fallback_"


def tokenizer_name(config: dict[str, Any]) -> str | None:
    """What names a recipe's tokenizer; None where nothing does that could be looked up."""
    name = config.get("tokenizer_config") or config.get("base_model")
    return name if isinstance(name, str) and name and len(name) < 500 else None


def _settings(name: str) -> dict[str, Any] | None:
    return model_json(name, "tokenizer_config.json")


def end_token(name: str) -> str | None:
    """The tokenizer's own end token; None where it can't be known.

    Args:
        name: a folder, or a model's name on the Hub.
    """
    found = (_settings(name) or {}).get("eos_token")
    if isinstance(found, dict):
        found = found.get("content")
    return found if isinstance(found, str) else _ENDS.get(name)


def end_of(config: dict[str, Any]) -> str | None:
    """The end token that a recipe trains with: its own, else its tokenizer's."""
    special, name = config.get("special_tokens"), tokenizer_name(config)
    given = special.get("eos_token") if isinstance(special, dict) else None
    if isinstance(given, str) and given:
        return given
    return end_token(name) if name else None


@functools.cache
def own_template(name: str) -> str | None:
    """The chat template that comes with a tokenizer; empty where none does, None if unknown.

    Args:
        name: a folder, or a model's name on the Hub.
    """
    for place in (
        local_folder(name) / "chat_template.jinja",
        cached_file(name, "chat_template.jinja"),
    ):
        try:
            if place:
                return place.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
    settings = _settings(name)
    if settings is None:
        return "" if name in _WITHOUT_TEMPLATE else None
    found = settings.get("chat_template") or ""
    if isinstance(found, list):  # several by name
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default") or ""
    return str(found)


def template_text(config: dict[str, Any]) -> str | None:
    """The text of a recipe's chat template; None where it can't be known or there is none."""
    template, jinja = config.get("chat_template"), config.get("chat_template_jinja")
    if isinstance(jinja, str) and jinja:
        if "{" in jinja:
            return jinja
        try:
            return Path(jinja).read_text(encoding="utf-8") if is_file(jinja) else None
        except (OSError, ValueError):
            return None
    if not isinstance(template, str) or template == "jinja":
        return None
    name = tokenizer_name(config)
    if template.startswith(DEFAULT):
        own = own_template(name) if name else None
        if own or own is None or template == DEFAULT:
            return own or None
        template = template.removeprefix(FALLBACK)
    try:
        from axolotl.utils.chat_templates import get_chat_template

        return str(get_chat_template(template))
    except Exception:  # a template that Axolotl has under another name
        return None
