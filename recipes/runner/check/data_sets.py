"""Entries of ``datasets``: their kind, roles and fields, against the rows where they are here."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.runner.check.finding import Finding, data_sets, listed, mapping, spelt
from recipes.runner.check.references import first_rows, is_local
from recipes.runner.check.sources import check_source, local_file
from recipes.runner.check.strategies import check_strategy
from recipes.runner.check.tokenizers import template_text
from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.yaml_file import KeyPath

# Axolotl's own mapping of roles, prompt_strategies/chat_template.py.
_ROLES = {"human": "user", "user": "user", "assistant": "assistant", "gpt": "assistant",
          "system": "system", "tool": "tool"}  # fmt: skip
_KNOWN_ROLES = ("user", "assistant", "system", "tool")
# What each kind of data set reads where nothing else is said.
_COLUMNS = {"completion": ("text",), "alpaca": ("instruction", "output"),
            "input_output": ("segments",)}  # fmt: skip
_MESSAGE_KEYS = ("role", "content", "train", "tool_calls", "name", "weight", "reasoning_content")


def check_data_sets(config: dict[str, Any]) -> Iterator[Finding]:
    """Kinds, splits, templates, roles and fields of every entry."""
    for place, entry in data_sets(config):
        if not entry.get("path") and entry.get("type") != "_synthetic":
            yield Finding((*place, "path"), "is missing", "Name a file, a folder or a data set")
        yield from _names(place, entry)
        yield from check_source(config, place, entry)
        rows = first_rows(str(entry["path"])) if isinstance(entry.get("path"), str) else None
        if entry.get("type") == "chat_template" and not config.get("rl"):
            yield from _roles(place, entry, rows)
            yield from _ends(config, place, entry)
        # Of a file that `make data` is still to write the columns are known for SFT alone.
        there = rows if local_file(entry.get("path")) else None
        yield from check_strategy(config, place, entry, there)
        yield from _fields(config, place, entry, rows)
    yield from _pretraining(config)
    yield from _same_data(config)
    yield from _template_variables(config)


@functools.cache
def _templates() -> tuple[str, ...]:
    from axolotl.utils.schemas.enums import ChatTemplate

    return tuple(member.value for member in ChatTemplate)


def _names(place: KeyPath, entry: dict[Any, Any]) -> Iterator[Finding]:
    template = entry.get("chat_template")
    fallback = str(template).startswith("tokenizer_default_fallback_")
    if isinstance(template, str) and template not in ("", *_templates()) and not fallback:
        hint = did_you_mean(template, _templates())
        what = f"there is no chat template {template}"
        yield Finding((*place, "chat_template"), what, hint)
    for key in mapping(entry, "message_property_mappings"):
        if key not in _MESSAGE_KEYS and (near := nearest(str(key), _MESSAGE_KEYS)):
            # Any other is a property of its own, which a template may read.
            where = (*place, "message_property_mappings", str(key))
            yield Finding(where, "is no property that is known", f"Did you mean {near}?", "warning")


def _roles(
    place: KeyPath, entry: dict[Any, Any], rows: list[dict[str, Any]] | None
) -> Iterator[Finding]:
    given = mapping(entry, "roles")
    sources = {str(s): str(t) for t, names in given.items() for s in listed(names)} or _ROLES
    trained = entry.get("roles_to_train")
    trained = trained if isinstance(trained, list) else ["assistant"]
    if not all(isinstance(role, str) for role in trained):
        return  # of the wrong type, which is said already
    for target in given:
        near = nearest(str(target), _KNOWN_ROLES)
        if target not in _KNOWN_ROLES and target not in trained and near:
            what = f"role {target} is trained by nobody"
            yield Finding((*place, "roles", str(target)), what, f"Did you mean {near}?")
    trained = [sources.get(role, role) for role in trained]  # as Axolotl reads them
    seen = {sources.get(role, role) for role in _roles_in(rows, entry)}
    for role in sorted(seen - {*_KNOWN_ROLES, *map(str, given), *trained}) if given else ():
        what = f"leave out {role}, which messages have: templates know {', '.join(_KNOWN_ROLES)}"
        near = nearest(role, _KNOWN_ROLES) or "user"
        yield Finding((*place, "roles"), what, f"Write {near}: [{role}]", "warning")
    known = seen or {*_KNOWN_ROLES, *map(str, given), *sources.values()}
    where: KeyPath = (*place, "roles_to_train")
    if trained == []:
        yield Finding(where, "is empty: no token is trained", "Write [assistant]")
    for index, role in enumerate(trained):
        if role in known or "roles_to_train" not in entry:
            continue
        what = f"no message has the role {role}" if seen else f"no role {role} is usual"
        near = nearest(role, known)
        todo = f"Did you mean {near}?" if near else f"Roles here: {', '.join(sorted(known))}"
        yield Finding((*where, index), what, todo, "error" if seen or near else "warning")
    answers = {"assistant", *(sources.get(name, name) for name in ("gpt", "assistant"))}
    if trained and not answers & set(trained) and set(trained) <= known:
        what = f"is {spelt(trained)}: the assistant's answers are not trained"
        yield Finding(where, what, "Write [assistant]")


def _roles_in(rows: list[dict[str, Any]] | None, entry: dict[Any, Any]) -> set[str]:
    field, key = _message_fields(entry)
    found: set[str] = set()
    for row in rows or []:
        for message in listed(row.get(field)):
            if isinstance(message, dict) and isinstance(message.get(key), str):
                found.add(message[key])
    return found


def _message_fields(entry: dict[Any, Any]) -> tuple[str, str]:
    """The column of the messages, and the key of a message's role."""
    role = mapping(entry, "message_property_mappings").get("role")
    role = role or entry.get("message_field_role") or "role"
    return str(entry.get("field_messages") or "messages"), str(role)


def _ends(config: dict[str, Any], place: KeyPath, entry: dict[Any, Any]) -> Iterator[Finding]:
    other = entry.get("train_on_eot") in ("all", "turn", "last") and config.get("eot_tokens")
    if entry.get("train_on_eos") == "none" and not other:
        what = "is none: the end is never learnt, and the model doesn't stop"
        yield Finding((*place, "train_on_eos"), what, "Write turn")


def _fields(
    config: dict[str, Any],
    place: KeyPath,
    entry: dict[Any, Any],
    rows: list[dict[str, Any]] | None,
) -> Iterator[Finding]:
    """Names of columns and of a message's keys, against the rows: a column may begin later."""
    if not rows:
        return
    columns: set[str] = set().union(*rows)
    kind = str(entry.get("type") or "")
    for key in (key for key in entry if str(key).startswith("field")):
        value = entry[key]
        optional = key in ("field_tools", "field_thinking", "field_system")
        if isinstance(value, str) and value not in columns and not optional:
            yield _no_column((*place, str(key)), value, columns)
    for key, value in mapping(entry, "type").items():
        named = str(key).startswith("field_") and key not in ("field_system", "field_input")
        if named and isinstance(value, str) and value and value not in columns:
            yield _no_column((*place, "type", str(key)), value, columns)
    if kind == "chat_template" and not config.get("rl"):
        field, _ = _message_fields(entry)
        if "field_messages" not in entry and field not in columns:
            what = f"the rows have no {field}, where a chat_template looks for conversations"
            near = nearest(field, columns) or ", ".join(sorted(columns))
            yield Finding(place, what, f"Name their column: field_messages. There is {near}")
        yield from _messages(place, entry, field, rows)
    elif kind in _COLUMNS and not config.get("rl"):
        wanted = (str(entry["field"]),) if kind == "completion" and entry.get("field") else None
        for column in wanted or _COLUMNS[kind]:
            if column not in columns and wanted is None:
                todo = f"The rows have {', '.join(sorted(columns))}"
                yield Finding((*place, "type"), f"{kind} reads {column}, which no row has", todo)


def _messages(
    place: KeyPath, entry: dict[Any, Any], field: str, rows: list[dict[str, Any]]
) -> Iterator[Finding]:
    """Keys of a message, and rows that hold no conversation at all."""
    keys: set[str] = set()
    for row in rows:
        keys.update(*(one for one in listed(row.get(field)) if isinstance(one, dict)))
    empty = [index for index, row in enumerate(rows, start=1) if not row.get(field)]
    if empty and len(empty) < len(rows):
        others = f", nor have {len(empty) - 1} others" if empty[1:] else ""
        what = (
            f"row {empty[0]} has no {field}{others}: Axolotl stops there, or drops what is beside"
        )
        yield Finding((*place, "path"), what, "Take such rows out", "warning")
    if not keys:
        return
    named = [
        ((*place, "message_property_mappings", str(name)), key)
        for name, key in mapping(entry, "message_property_mappings").items()
        if name in ("role", "content")
    ]
    named += [
        ((*place, name), entry.get(name))
        for name in ("message_field_role", "message_field_content")
    ]
    for where, key in named:
        if isinstance(key, str) and key not in keys:
            yield Finding(where, f"a message has no {key}", did_you_mean(key, keys, "It has"))
    given = {where[-1] for where, key in named if key}
    for name in ("role", "content"):
        if not {name, f"message_field_{name}"} & given and name not in keys:
            what = f"a message has no {name}, where a chat_template looks for it"
            todo = f"Write message_property_mappings: {{{name}: ...}}. It has"
            yield Finding(place, what, f"{todo} {', '.join(sorted(keys))}")


def _pretraining(config: dict[str, Any]) -> Iterator[Finding]:
    """The column of the texts that a base model is trained further on."""
    given = config.get("pretraining_dataset")
    for index, entry in enumerate(listed(given) or [given]):
        if isinstance(entry, str):
            entry = {"path": entry}
        path = entry.get("path") if isinstance(entry, dict) else None
        rows = first_rows(path) if isinstance(path, str) else None
        if not rows:
            continue
        column, columns = str(entry.get("text_column") or "text"), set().union(*rows)
        if column not in columns:
            place: KeyPath = ("pretraining_dataset",)
            place += (index,) if isinstance(given, list) else ()
            place += ("text_column",) if entry.get("text_column") else ()
            yield _no_column(place, column, columns)


def _no_column(place: KeyPath, name: str, columns: set[str]) -> Finding:
    return Finding(place, f"the rows have no {name}", did_you_mean(name, columns, "They have"))


def _same_data(config: dict[str, Any]) -> Iterator[Finding]:
    """Validation on rows that are trained on: its loss falls whatever is learnt."""
    training: dict[tuple[str, ...], KeyPath] = {}
    for place, entry in data_sets(config):
        identity = _identity(entry)
        if place[0] == "datasets" and entry.get("path"):
            wanted = entry.get("type") == "_synthetic" or config.get("dataset_exact_deduplication")
            if identity in training and not wanted:
                what = f"is datasets[{training[identity][1]}] again: its rows are trained on twice"
                yield Finding((*place, "path"), what, "Take one out", "warning")
            training.setdefault(identity, place)
    for place, entry in data_sets(config):
        identity = _identity(entry)
        if place[0] == "test_datasets" and identity in training and entry.get("path"):
            what = f"is what datasets[{training[identity][1]}] trains on: it says nothing"
            yield Finding((*place, "path"), what, "Name rows that were held out")


def _identity(entry: dict[Any, Any]) -> tuple[str, ...]:
    path = entry.get("path")
    path = str(Path(path)) if isinstance(path, str) and is_local(path) else str(path)
    split = str(entry.get("split") or "train")
    return (path, split, str(entry.get("name") or ""), str(entry.get("data_files") or ""))


def _template_variables(config: dict[str, Any]) -> Iterator[Finding]:
    """Keys of ``chat_template_kwargs`` that the template doesn't use."""
    given = mapping(config, "chat_template_kwargs")
    text = template_text(config)
    if text is None:
        return
    import jinja2
    from jinja2 import meta
    from transformers.utils import chat_template_utils

    try:
        # transformers' own environment: it knows {% generation %}.
        environment = chat_template_utils._compile_jinja_template(text).environment
        tree = environment.parse(text)
    except (jinja2.TemplateError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        what = f"the template can't be read: {' '.join(reason.split())}"
        yield Finding(("chat_template_jinja",), what, "Correct it")
        return
    # What transformers itself gives every template.
    given_anyway = {"messages", "tools", "documents", "add_generation_prompt", "bos_token"}
    given_anyway |= {"eos_token", "pad_token", "raise_exception", "strftime_now", "tojson"}
    known = meta.find_undeclared_variables(tree) - given_anyway
    for key in given:
        if key not in known:
            todo = did_you_mean(str(key), known, "It uses")
            place = ("chat_template_kwargs", str(key))
            yield Finding(place, "the chat template has no such variable", todo)
