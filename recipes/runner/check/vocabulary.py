"""Tokens by number and by text: those that a recipe names and the base model's tokenizer hasn't."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipes.runner.check.base_model import added_tokens, built_config, vocabulary
from recipes.runner.check.finding import Finding, listed, mapping, number
from recipes.runner.check.tokenizers import tokenizer_name
from recipes.runner.core.nearest import nearest
from recipes.runner.core.yaml_file import KeyPath


def check_vocabulary(config: dict[str, Any]) -> Iterator[Finding]:
    """Numbers beyond the vocabulary, and ends of turns that are no token."""
    yield from _overrides(config)
    size = getattr(built_config(config), "vocab_size", None)
    if isinstance(size, int):
        size += len(listed(config.get("tokens")))
        for place, token in _numbered(config):
            found = number(token)
            if found is not None and not 0 <= found < size:
                what = f"is {found:g}, and the vocabulary has {size:,} tokens"
                yield Finding(place, what, "Give a token's number")
    yield from _ends_of_turns(config)


def _overrides(config: dict[str, Any]) -> Iterator[Finding]:
    """Axolotl renames added tokens alone, and stops at any other number."""
    given = mapping(config, "added_tokens_overrides")
    name = tokenizer_name(config)
    known = added_tokens(name) if given and name else None
    size = getattr(built_config(config), "vocab_size", None)
    for key in given:
        place = ("added_tokens_overrides", str(key))
        token = number(key)
        if token is None:
            yield Finding(place, "is no token's number", "Write number: new text")
        elif known is not None and int(token) not in known:
            spare = ", ".join(map(str, sorted(known)[-4:])) or "none"
            what = f"{token:g} is the number of no added token"
            yield Finding(place, what, f"Those of {name} end with {spare}")
        elif known is None and isinstance(size, int) and not 0 <= token < size:
            what = f"{token:g} is beyond the vocabulary's {size:,} tokens"
            yield Finding(place, what, "Give an added token's number")


def _numbered(config: dict[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    for key in ("fix_untrained_tokens", "pose_split_on_token_ids", "peft_trainable_token_indices"):
        value = config.get(key)
        if isinstance(value, dict):
            for name, tokens in value.items():
                for index, token in enumerate(listed(tokens)):
                    yield (key, str(name), index), token
        elif isinstance(value, list):
            for index, token in enumerate(value):
                yield (key, index), token
        elif value is not None and not isinstance(value, bool):
            yield (key,), value


def _ends_of_turns(config: dict[str, Any]) -> Iterator[Finding]:
    """Axolotl stops at an end of a turn that is not one token."""
    name, ends = tokenizer_name(config), listed(config.get("eot_tokens"))
    found = vocabulary(name) if name and ends else None
    if found is None or not found[1]:
        return
    known = found[0] | {str(token) for token in listed(config.get("tokens"))}
    known |= {str(token) for token in mapping(config, "added_tokens_overrides").values()}
    special = mapping(config, "special_tokens")
    more = special.get("additional_special_tokens")
    known |= {str(token) for token in (*special.values(), *listed(more))}
    for index, token in enumerate(ends):
        if isinstance(token, str) and token not in known:
            near = nearest(token, [word for word in known if word[:1] == "<"])
            todo = f"Did you mean {near}?" if near else "Take one that is, or list it under tokens"
            yield Finding(("eot_tokens", index), f"{token} is no token of {name}", todo)
