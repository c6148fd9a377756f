"""All that can be known wrong about a recipe before anything is loaded."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.runner.check.against_model import check_against_model, check_base
from recipes.runner.check.against_run import check_against_run
from recipes.runner.check.conditions import check_conditions
from recipes.runner.check.consequences import check_consequences
from recipes.runner.check.data_sets import check_data_sets
from recipes.runner.check.dictionaries import check_dictionaries
from recipes.runner.check.enumerations import check_enumerations
from recipes.runner.check.finding import Finding, Level, is_ours, listed, number, words
from recipes.runner.check.parameters import check_parameters
from recipes.runner.check.preferences import check_preferences
from recipes.runner.check.ranges import check_ranges
from recipes.runner.check.references import check_references
from recipes.runner.check.refusals import axolotl_refusals
from recipes.runner.check.schema import check_root, load_plugin_class, root_models
from recipes.runner.check.templates import check_templates
from recipes.runner.check.trainers import check_trainers
from recipes.runner.check.values import check_names, check_numbers
from recipes.runner.check.vocabulary import check_vocabulary
from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import nearest
from recipes.runner.core.paths import display_path
from recipes.runner.core.recipe import NO_KEYS
from recipes.runner.core.yaml_file import KeyPath, YamlFile, dotted, read_yaml

# What axolotl itself puts into the dictionary before a plugin sees it: the path, and, started by
# `axolotl train`, every option of that command (its TrainerCliArgs).
_NOT_OF_THE_RECIPE = (
    "axolotl_config_path",
    "debug",
    "debug_text_only",
    "debug_num_examples",
    "prompter",
    "shard",
)
GUARDS = (
    "plugins.strict.StrictPlugin",
    "plugins.preflight.PreflightPlugin",
    "plugins.packing.PackingPlugin",
    "plugins.quantization_guard.QuantizationGuardPlugin",
    "plugins.run_record.RunRecordPlugin",
)
_MOST_SHOWN = 100
_LONGEST = 400  # characters of one message

_CHECKS: tuple[Callable[[dict[str, Any]], Iterable[Finding]], ...] = (
    check_numbers,
    check_ranges,
    check_names,
    check_enumerations,
    check_conditions,
    check_consequences,
    check_trainers,
    check_dictionaries,
    check_references,
    check_base,
    check_against_model,
    check_parameters,
    check_vocabulary,
    check_data_sets,
    check_templates,
    check_against_run,
    check_preferences,
)
# A recipe whose `rl` is misspelt is none for SFT: what is of an `rl` isn't looked at then.
_SWITCHES = ("rl",)


@dataclass
class Report:
    """What was found in one recipe, each with its file, line and key.

    Attributes:
        errors: what stops the run.
        warnings: what was hardly meant.
        notes: what a reader should know, such as what could not be looked up.
        places: the keys that the errors are about.
    """

    errors: list[UserError] = field(default_factory=list)
    warnings: list[UserError] = field(default_factory=list)
    notes: list[UserError] = field(default_factory=list)
    places: set[KeyPath] = field(default_factory=set)


def check_config(config: dict[str, Any], file: Path) -> list[UserError]:
    """Every error of a recipe, each with file, line and key; empty when there is none.

    Args:
        config: the recipe's keys, overrides of the command line applied.
        file: the recipe's file, for the lines.
    """
    return inspect_config(config, read_yaml(file, NO_KEYS)).errors


def inspect_recipe(config: dict[str, Any], file: YamlFile) -> Report:
    """All of `inspect_config`, what the recipe leaves unguarded, and what Axolotl refuses."""
    report = inspect_config(config, file)
    found = [*_unguarded(config)]
    # Beside what Axolotl only drops it says what else it refuses; other faults it would say again.
    if all(_is_dropped(error) for error in report.errors):
        refused = axolotl_refusals(config)
        found += [finding for finding in refused if finding.place not in report.places]
    return _report(found, config, file, report)


def _is_dropped(error: UserError) -> bool:
    return ": unknown key" in error.what or "Axolotl drops it" in error.what


def _unguarded(config: dict[str, Any]) -> Iterator[Finding]:
    """A recipe that doesn't name the guarding plugins isn't guarded; nothing else would tell."""
    names = [name for name in listed(config.get("plugins")) if isinstance(name, str)]
    ours = is_ours(config)
    missing = [name for name in GUARDS if name not in names]
    if ours and missing:
        todo = "Add it, or the run goes unguarded"
        yield Finding(("plugins",), f"does not name {', '.join(missing)}", todo)
    elif missing:
        what = "names none of this repository's plugins: Axolotl runs it unguarded"
        yield Finding((), what, "See recipes/README.md", "note")


def inspect_config(config: dict[str, Any], file: YamlFile, starting: bool = False) -> Report:
    """Errors, warnings and notes of a recipe, in the order of the file.

    Args:
        config: the recipe's keys, overrides of the command line applied.
        file: the recipe as it was read.
        starting: whether the run starts here, so that what is not installed here stops it.
    """
    given = {
        str(key): value
        for key, value in config.items()
        if key not in _NOT_OF_THE_RECIPE or (key,) in file.lines
    }
    found = [Finding(*fault) for fault in file.faults]
    found += _of_schema(given, starting)
    found = list(_with_traps(found, given, file))
    wrong = {finding.place for finding in found if finding.level == "error"}
    for check in _CHECKS:
        # A value that was refused already says nothing more.
        sound = {
            key: value
            for key, value in given.items()
            if (key,) not in wrong or (key in _SWITCHES and isinstance(value, str))
        }
        try:
            more = list(islice(check(sound), _MOST_SHOWN + 1))
        except Exception as error:
            more = []
            what = f"{check.__name__.removeprefix('check_').replace('_', ' ')} was left out"
            todo = (
                f"Correct the rest first ({error})" if wrong else f"{type(error).__name__}: {error}"
            )
            level: Level = "note" if wrong else "warning"
            found.append(Finding((), what, " ".join(todo.split())[:120], level))
        # Nor does one that a refused value was left out for say that it is missing.
        left_out = {str(place[0]) for place in wrong if len(place) == 1}
        found += [
            finding
            for finding in more
            if finding.place not in wrong and not _asks_for(finding.what, left_out)
        ]
    return _report(found, given, file)


def _asks_for(what: str, keys: set[str]) -> bool:
    """Whether a finding says that one of these keys is missing, or says what it is not."""
    if what.startswith(tuple(f"needs {key}," for key in keys)):
        return True
    said = what.startswith("is not read") or "which needs" in what
    return said and not keys.isdisjoint(re.findall(r"\w+", what))


def _of_schema(config: dict[str, Any], starting: bool) -> Iterator[Finding]:
    names, missing = [], False
    for index, name in enumerate(listed(config.get("plugins"))):
        problem = _plugin_problem(name, ("plugins", index)) if isinstance(name, str) else None
        if problem:
            missing = True
            if starting:
                problem = problem._replace(level="error")
            yield problem
        elif isinstance(name, str):
            names.append(name)
    for finding in islice(check_root(config, root_models(names)), _MOST_SHOWN + 1):
        # The keys of a plugin that can't be loaded are not known.
        if missing and finding.what == "unknown key" and len(finding.place) == 1:
            todo = f"{finding.todo}, if it is not of the plugin that can't be loaded here"
            finding = finding._replace(todo=todo, level="warning")
        yield finding


def _plugin_problem(name: str, place: KeyPath) -> Finding | None:
    from recipes.runner.check.schema import plugin_models

    try:
        plugin_models(name)
    except ImportError as error:
        missing = getattr(error, "name", None)
        if missing:
            what = f"plugin {name} needs the package {missing}, which is not installed here"
            return Finding(place, what, "Install it where the run starts", "warning")
        near = nearest(name, _known_plugins())
        todo = f"Did you mean {near}?" if near else "Axolotl goes on without it: correct the name"
        return Finding(place, f"there is no plugin {name}", todo)
    except (Exception, SystemExit) as error:  # a class that is no plugin, or a module that runs
        what = f"{name} is no plugin of Axolotl's ({type(error).__name__})"
        return Finding(place, what, "Take it out")
    return None


@functools.cache
def _known_plugins() -> list[str]:
    from recipes.runner.core.recipe import load_recipe, recipe_paths

    known: set[str] = set()
    for path in recipe_paths():
        try:
            names = load_recipe(path).config.get("plugins") or []
        except UserError:
            continue
        known.update(name for name in names if isinstance(name, str))
    return [name for name in known if _is_plugin(name)]


def _is_plugin(name: str) -> bool:
    try:
        load_plugin_class(name)
    except ImportError:
        return False
    return True


def _with_traps(found: list[Finding], config: dict[str, Any], file: YamlFile) -> Iterator[Finding]:
    """Findings, with what YAML made of a word in place of what it then is not."""
    wrong = set()
    for finding in found:
        trap = file.traps.get(finding.place)
        wrong.add(finding.place)
        of_value = finding.what.startswith("is ")
        if trap and of_value and not _from_command_line(finding.place, config, file):
            finding = finding._replace(what=str(trap), todo=trap.todo)
        yield finding
    for place, trap in file.traps.items():
        value = _value_at(place, config)
        if place in wrong or _from_command_line(place, config, file):
            continue
        if "octal" in trap.read or "base of 60" in trap.read:
            yield Finding(place, str(trap), trap.todo)
        elif trap.read == "text" and len(place) == 1 and place[0] in _READ_AS_NUMBERS:
            read = f"{trap}, and Axolotl takes it for {number(value):g}"
            yield Finding(place, read, trap.todo, "note")
        elif trap.read == "text" and _is_free(place, config) and number(value) is not None:
            yield Finding(place, f"{trap}, and what reads it wants a number", trap.todo)


_READ_AS_NUMBERS = frozenset(
    words(
        """
    learning_rate num_epochs weight_decay adam_epsilon embedding_lr max_grad_norm
    lora_dropout loraplus_lr_ratio loraplus_lr_embedding warmup_ratio dpo_beta rl_beta
    micro_batch_size gradient_accumulation_steps lora_r lora_alpha sequence_len max_steps
    warmup_steps eval_steps save_steps logging_steps seed eval_batch_size save_total_limit
    """
    )
)
# Blocks whose values go on as they are: nobody makes a number of a text there.
_FREE = (
    ("lr_scheduler_kwargs",),
    ("overrides_of_model_config",),
    ("model_config",),
    ("trl", "generation_kwargs"),
    ("deepspeed",),
    ("model_quantization_config_kwargs",),
    ("processor_kwargs",),
    ("torch_compile_options",),
    ("bnb_config_kwargs",),
)


def _is_free(place: KeyPath, config: dict[str, Any]) -> bool:
    if place[0] == "optim_args" and len(place) > 1:
        # transformers reads its optimizers' from text; Axolotl hands its own on.
        from axolotl.utils.schemas.enums import CustomSupportedOptimizers

        return config.get("optimizer") in [member.value for member in CustomSupportedOptimizers]
    return any(place[: len(free)] == free and len(place) > len(free) for free in _FREE)


_NOTHING = object()


def _value_at(place: KeyPath, content: Any) -> Any:
    for step in place:
        if isinstance(content, dict):
            content = content.get(step, _NOTHING)
        elif isinstance(content, list) and isinstance(step, int) and step < len(content):
            content = content[step]
        else:
            return _NOTHING
    return content


def _from_command_line(place: KeyPath, config: dict[str, Any], file: YamlFile) -> bool:
    """Whether SET gave the value at a place, or one above it."""
    return any(
        (here := _value_at(place[:length], config)) is not _NOTHING
        and _differs(here, _value_at(place[:length], file.content))
        for length in range(len(place), 0, -1)
        if not isinstance(_value_at(place[:length], config), dict)
    ) and not (place in file.lines and _value_at(place, config) is _NOTHING)


def _differs(one: Any, other: Any) -> bool:
    return other is _NOTHING or repr(one) != repr(other)


def _report(
    found: Iterable[Finding], config: dict[str, Any], file: YamlFile, report: Report | None = None
) -> Report:
    report = report or Report()
    lists: dict[Level, list[UserError]] = {
        "error": report.errors,
        "warning": report.warnings,
        "note": report.notes,
    }
    ordered = sorted(dict.fromkeys(found), key=lambda finding: file.line(finding.place))
    for finding in ordered:
        listed = lists[finding.level]
        if len(listed) < _MOST_SHOWN:
            listed.append(_error(finding, config, file))
        if finding.level == "error":
            report.places.add(finding.place)
    if len(report.errors) == _MOST_SHOWN:
        report.errors.append(UserError("more of the kind are not shown", display_path(file.path)))
    return report


def _error(finding: Finding, config: dict[str, Any], file: YamlFile) -> UserError:
    place = finding.place
    text = f"{dotted(place)}: {finding.what}" if place else finding.what
    text = " ".join(text.splitlines())
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    known = any(place[:length] in file.lines for length in range(1, len(place) + 1))
    if place and _from_command_line(place, config, file):
        return UserError(text, "command line (SET=)", finding.todo)
    where = display_path(file.path)
    return UserError(text, f"{where}:{file.line(place)}" if known else where, finding.todo)
