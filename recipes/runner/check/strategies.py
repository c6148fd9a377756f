"""The `type` of a data set, resolved as Axolotl resolves it under this `rl`.

SFT: `axolotl.prompt_strategies.load`, then the handlers of `utils/data/wrappers.py`; under `rl` a
module of the package of that trainer and a function in it (`prompt_strategies/base.py`).
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import string
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from recipes.runner.check.finding import Finding, Level
from recipes.runner.check.references import importable
from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.yaml_file import KeyPath
from recipes.runner.models.saved_adapter import names_preference_plugin

_PACKAGE = "axolotl.prompt_strategies"
# The package of each `rl` but those whose data sets are the user's own functions.
_BY_RL = {"dpo": "dpo", "ipo": "dpo", "simpo": "dpo", "orpo": "orpo", "kto": "kto", "ebft": "ebft"}
_STYLED = ("alpaca", "explainchoice", "concisechoice", "summarizetldr", "jeopardy", "gpteacher",
           "reflection")  # fmt: skip
_HANDLED = (*_STYLED, "oasst")
_NO_STRATEGY = ("base", "jinja_template_analyzer")
_REMOVED = {"sharegpt": "chat_template"}
_OPTIONAL = ("field_system", "field_tools")


def check_strategy(
    config: dict[str, Any],
    place: KeyPath,
    entry: dict[Any, Any],
    rows: list[dict[str, Any]] | None,
) -> Iterator[Finding]:
    """Whether Axolotl finds what a ``type`` names, and whether the rows have what that reads.

    Args:
        config: the recipe's keys.
        place: of the entry.
        entry: one of ``datasets`` or ``test_datasets``.
        rows: of its file, where it is here.
    """
    kind, rl = entry.get("type"), config.get("rl")
    if isinstance(kind, dict):
        yield from _formats(kind, (*place, "type"))
    if not isinstance(kind, str) or not kind or kind == "_synthetic":
        return
    where = (*place, "type")
    if not rl:
        yield from _of_sft(where, kind, bool(config.get("reward_model")))
    elif rl in _BY_RL and not _is_provided(config, kind, str(rl)):
        yield from _of_rl(where, entry, str(rl), rows)


def _is_provided(config: dict[str, Any], kind: str, rl: str) -> bool:
    """Whether our plugin adds this kind to Axolotl's (`datasets_prep.kto_chat`)."""
    known = rl == "kto" and kind == "chat_template.default"
    return known and names_preference_plugin(config)


# What Axolotl fills in: `prompters.py`, `dpo/user_defined.py`, `kto/user_defined.py`.
_FILLED = {
    "format": ("instruction", "input"), "no_input_format": ("instruction",),
    "system_format": ("system",), "prompt_format": ("prompt", "system"),
    "chosen_format": ("chosen",), "rejected_format": ("rejected",),
    "completion_format": ("completion",),
}  # fmt: skip


def _formats(kind: dict[Any, Any], place: KeyPath) -> Iterator[Finding]:
    """Texts with places to fill in, of a kind that a recipe defines itself."""
    for key, filled in _FILLED.items():
        text = kind.get(key)
        if not isinstance(text, str):
            continue
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        except ValueError as error:
            yield Finding((*place, key), f"can't be filled in: {error}", "Write {{ for a brace")
            continue
        for name in names:
            if name not in filled:
                listed = ", ".join(f"{{{one}}}" for one in filled)
                what = f"{{{name}}} is filled in by nothing"
                yield Finding((*place, key), what, f"Axolotl fills in {listed}")


def _of_rl(
    place: KeyPath, entry: dict[Any, Any], rl: str, rows: list[dict[str, Any]] | None
) -> Iterator[Finding]:
    kind = str(entry["type"])
    package = f"{_PACKAGE}.{_BY_RL[rl]}"
    name, _, function = (kind if "." in kind else f"{kind}.default").rpartition(".")
    known = _modules(package)
    if name not in known:
        if not importable(name):
            todo = did_you_mean(name, known, f"Under rl: {rl} there are")
            yield Finding(place, f"there is no kind of data set {kind} under rl: {rl}", todo)
        return
    functions = [one for one in _functions(f"{package}.{name}") if one != "load"]
    if function not in functions:
        near = nearest(function, functions)
        listed = ", ".join(f"{name}.{one}" for one in functions)
        todo = f"Did you mean {name}.{near}?" if near else f"There are {listed}"
        yield Finding(place, f"there is no kind of data set {kind} under rl: {rl}", todo)
        return
    if not rows:
        return
    asked = set(_columns(f"{package}.{name}", function))
    for key, default in _defaults(f"{package}.{name}", function).items():
        if not entry.get(key) and key not in _OPTIONAL:
            asked.add(default)
    columns: set[str] = set().union(*rows)
    missing = sorted(asked - columns)
    if missing:
        todo = f"The rows have {', '.join(sorted(columns))}"
        yield Finding(place, f"{kind} reads {', '.join(missing)}, which no row has", todo)


def _of_sft(place: KeyPath, kind: str, rewards: bool) -> Iterator[Finding]:
    parts = kind.split(".")
    if rewards and parts[0] != "bradley_terry":
        what = f"is {kind}, whose rows are no pairs: reward_model reads bradley_terry.*"
        yield Finding(place, what, "Write bradley_terry.chat_template.default", "warning")
        return
    base, _, style = kind.partition(":")
    if style or base in _HANDLED:
        if style and base in _STYLED and style not in _styles():
            todo = did_you_mean(style, _styles(), "There are")
            yield Finding(place, f"{base} has no style {style}", todo)
        elif style and base not in _HANDLED:
            right = kind.replace(":load_", ".load_")
            todo = f"Did you mean {right}?" if right != kind else f"Write {base}"
            yield Finding(place, f"there is no kind of data set {kind}", todo)
        return
    package, own = _PACKAGE, parts
    if parts[0] == "bradley_terry":
        package, own = f"{_PACKAGE}.bradley_terry", parts[1:] or ["?"]
        own = own[:1] + [part for part in own[1:] if part != "default"]
    known = _modules(package)
    if own[0] not in known:
        if not importable(own[0]):
            usual = (*known, *_HANDLED) if package == _PACKAGE else known
            near = _REMOVED.get(own[0].split(":")[0]) or nearest(own[0], usual)
            what = f"there is no kind of data set {kind}"
            level: Level = "error" if near or len(parts) == 1 else "warning"
            todo = f"Did you mean {near}?" if near else "It is none of Axolotl's"
            yield Finding(place, what, todo, level)
        return
    if len(own) == 1 or own[0] == "messages":
        return
    functions = [name for name in _functions(f"{package}.{own[0]}") if name.startswith("load")]
    if own[-1] not in functions:
        near = nearest(own[-1], functions)
        todo = f"Did you mean {own[0]}.{near}?" if near else f"Write {own[0]}"
        yield Finding(place, f"there is no kind of data set {kind}", todo)


@functools.cache
def _modules(package: str) -> tuple[str, ...]:
    found = importlib.import_module(package)
    names = (module.name for module in pkgutil.iter_modules(found.__path__))
    return tuple(name for name in names if name not in _NO_STRATEGY)


@functools.cache
def _styles() -> tuple[str, ...]:
    from axolotl.prompters import PromptStyle

    return tuple(member.value for member in PromptStyle)


@functools.cache
def _functions(module: str) -> tuple[str, ...]:
    """The public functions that a module defines, and a ``load`` of another kind."""
    found: ModuleType = importlib.import_module(module)
    return tuple(
        name
        for name, item in vars(found).items()
        if not name.startswith("_")
        and (getattr(item, "__module__", None) == module or name == "load")
        and callable(item)
        and not inspect.isclass(item)
    )


@functools.cache
def _tree(module: str, function: str) -> ast.AST:
    source = inspect.getsource(getattr(importlib.import_module(module), function))
    return ast.parse(textwrap.dedent(source))


@functools.cache
def _columns(module: str, function: str) -> frozenset[str]:
    """The columns that a strategy asks every row for, read from its source.

    One that it looks for before it asks doesn't count, nor one that it asks for only in a branch.
    """
    looked = {
        str(node.left.value)
        for node in ast.walk(_tree(module, function))
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant)
    }
    asked = set()
    for node in ast.walk(_tree(module, function)):
        # What it makes of a row, which is always made: sample["chosen"] = ... sample["chosen"] ...
        if isinstance(node, ast.Assign) and _columns_in(node.targets[0], ast.Store):
            asked |= _columns_in(node.value, ast.Load)
    return frozenset(asked - looked)


def _columns_in(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """The constants by which ``sample`` is read or written."""
    return {
        str(node.slice.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "sample"
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.ctx, context)
    }


@functools.cache
def _defaults(module: str, function: str) -> dict[str, str]:
    """Key of an entry to the column that a strategy takes where the key is not given."""
    found = {}
    for node in ast.walk(_tree(module, function)):
        if not isinstance(node, ast.Call) or len(node.args) != 2:
            continue
        key, default = (arg.value if isinstance(arg, ast.Constant) else None for arg in node.args)
        get = isinstance(node.func, ast.Attribute) and node.func.attr == "get"
        if get and str(key).startswith("field_") and isinstance(default, str):
            found[str(key)] = default
    return found
