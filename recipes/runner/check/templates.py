"""Chat templates: one that isn't there, ends of turns that it never writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from recipes.runner.check.base_model import vocabulary
from recipes.runner.check.finding import Finding, Level, data_sets, is_ours, listed, spelt
from recipes.runner.check.tokenizers import (
    DEFAULT,
    end_of,
    own_template,
    template_text,
    tokenizer_name,
)
from recipes.runner.core.nearest import nearest
from recipes.runner.core.yaml_file import KeyPath


def check_templates(config: dict[str, Any]) -> Iterator[Finding]:
    """Whether conversations have a template, and whether it writes the ends that are trained on."""
    chats = [
        (place, entry)
        for place, entry in data_sets(config)
        if str(entry.get("type")).startswith("chat_template")
    ]
    if not chats:
        return
    name = tokenizer_name(config)
    # A template at the top takes the place of the tokenizer's own, for entries that ask for that.
    at_the_top = config.get("chat_template") or config.get("chat_template_jinja")
    others = [entry for _, entry in chats if entry.get("chat_template") not in (None, "", DEFAULT)]
    if name and own_template(name) == "" and at_the_top in (None, "", DEFAULT):
        asking = [_where(config, place, entry) for place, entry in chats if entry not in others]
        for place in dict.fromkeys(asking):
            what = f"the tokenizer of {name} has no chat template, and Axolotl stops there"
            todo = "Write chat_template: chatml, or jinja with chat_template_jinja"
            yield Finding(place, what, todo)
    elif not (config.get("rl") or others):
        yield from _ends(config)


def _where(config: dict[str, Any], place: KeyPath, entry: dict[Any, Any]) -> KeyPath:
    """The key that asks for the tokenizer's own template; the kind, where no key does."""
    if entry.get("chat_template"):
        return (*place, "chat_template")
    return ("chat_template",) if config.get("chat_template") else (*place, "type")


def _ends(config: dict[str, Any]) -> Iterator[Finding]:
    """Axolotl trains on an end of a turn only where the template's own text has it."""
    text, eos, name = template_text(config), end_of(config), tokenizer_name(config)
    tokens = vocabulary(name) if name else None
    if not text or (eos and tokens and eos not in tokens[0]):
        return  # what is no token is said already
    ends = [token for token in listed(config.get("eot_tokens")) if isinstance(token, str) and token]
    if not ends and "eot_tokens" not in config:
        if eos and eos not in text and "eos_token" not in text:
            what = f"doesn't write {eos}, the end token: the end is never learnt"
            todo = "Take its own end as special_tokens.eos_token, or name it under eot_tokens"
            key = "chat_template_jinja" if config.get("chat_template_jinja") else "chat_template"
            level: Level = "error" if is_ours(config) else "warning"
            yield Finding((key,), what, todo, level)
        return
    for index, token in enumerate(ends):
        if token in text or (ends == [eos] and "eos_token" in text):
            continue
        near = nearest(token, [word for word in _marks(text) if word != token])
        todo = f"Did you mean {near}?" if near else "Name what ends a turn there, or take it out"
        what = f"the chat template never writes {spelt(token)}: Axolotl leaves it out"
        yield Finding(("eot_tokens", index), what, todo, "warning")


def _marks(text: str) -> list[str]:
    return re.findall(r"<\|[^|<>]+\|>|</?\w+>|\[/?\w+\]|>>\w+<<", text)
