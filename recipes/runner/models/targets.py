"""Which layers a recipe's adapter trains, found in the model's shape before weights are loaded.

PEFT takes a name that matches nothing in silence as long as another one matches. The rules are
those of PEFT 0.20 (`check_target_module_exists`, `get_pattern_key`, `_set_trainable`) and of
Axolotl 0.19 (`find_all_linear_names`); tests/recipes/test_targets.py holds them to both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.patterns import BadPattern, guarded, shown
from recipes.runner.models.adapted import Adapted, Problem, Targets
from recipes.runner.models.architecture import Architecture, Module, architecture
from recipes.runner.models.experts import expert_names
from recipes.runner.models.families import family_of
from recipes.runner.models.names import is_of, layer_of, pattern_of, rank_of, texts
from recipes.runner.models.saved_adapter import with_saved_adapter

ALL_LINEAR = "all-linear"
_KEY, _SAVED, _LAYERS = "lora_target_modules", "lora_modules_to_save", "peft_layers_to_transform"
_LAYERS_PATTERN, _EXCLUDED = "peft_layers_pattern", "lora_exclude_modules"


def find_target_problems(config: dict[str, Any]) -> list[UserError]:
    """Every name of a recipe's adapter that its base model has no use for.

    Args:
        config: the recipe's keys, overrides applied; one without an adapter has no problem.

    Raises:
        UserError: the base model's shape is not to be had (neither kept, local nor on the Hub).
    """
    if not config.get("adapter"):
        return []
    targets = resolve(config, architecture(str(config.get("base_model"))))
    return [problem.error() for problem in targets.problems]


def resolve(config: dict[str, Any], shape: Architecture) -> Targets:
    """Find what `lora_target_modules` and the keys beside it name in this model.

    Args:
        config: the recipe's keys; those of the adapter that it goes on with count before them.
        shape: the base model's.

    Raises:
        CannotEstimate: that adapter is not on this machine.
    """
    return _Search(with_saved_adapter(config), shape).result()


class _Search:
    def __init__(self, config: dict[str, Any], shape: Architecture) -> None:
        self.config, self.shape = config, shape
        self.family = family_of(shape.model_type)
        self.known: dict[str, Module | None] = {}
        for module in shape.modules:
            parts = module.path.split(".")
            for end in range(1, len(parts)):
                self.known.setdefault(".".join(parts[:end]), None)
            self.known[module.path] = module
        self.problems: list[Problem] = []
        self.experts = expert_names(shape)
        self.of_experts: dict[str, set[str]] = {}

    def result(self) -> Targets:
        saved = self._saved()
        modules = self._without_saved(self._targeted())
        patterns = self._patterns("lora_rank_pattern", modules)
        self._patterns("lora_alpha_pattern", modules)
        adapted = []
        for module in modules:
            rank = patterns.get(pattern_of(patterns, module.path), self.config.get("lora_r"))
            adapted.append(Adapted(module, rank_of(rank)))
        if not rank_of(self.config.get("lora_r")):
            self._problem(
                f"is {self.config.get('lora_r')!r}, and a rank is a whole number from 1 on",
                "lora_r",
                "Write lora_r: 16",
            )
        return Targets(
            tuple(adapted),
            saved,
            self._experts(),
            self._tokens(),
            tuple(self.problems),
        )

    def _problem(self, what: str, where: str | tuple[str | int, ...], todo: str) -> None:
        place = (where,) if isinstance(where, str) else where
        self.problems.append(Problem(place, what, todo))

    def _names(self, modules: Iterable[Module] | None = None) -> list[str]:
        adaptable = self.shape.modules if modules is None else modules
        return sorted({module.name for module in adaptable if module.kind != "other"})

    def _targeted(self) -> list[Module]:
        """The modules that the recipe's target names match, in the model's order."""
        wanted = self.config.get(_KEY) or []
        if isinstance(wanted, str) and self.experts.joined:
            wanted = self._as_leaves(wanted)
            if wanted is None:
                return []
        if isinstance(wanted, str) and not self.config.get("lora_target_linear"):
            if wanted.lower() == ALL_LINEAR:
                return self._refuse_bypassed(list(self.shape.body))
            return self._by_expression(wanted)
        names = self._without_experts(texts(wanted))
        found: dict[str, Module] = {}
        for index, name in enumerate(names):
            place = (_KEY, index) if isinstance(wanted, list) else (_KEY,)
            found |= {module.path: module for module in self._by_name(name, place)}
        if self.config.get("lora_target_linear"):
            # Axolotl adds the last name of every linear layer but the head's.
            head = (self.shape.head or "").rsplit(".", 1)[-1]
            last = {module.name for module in self.shape.linears} - {head}
            last = set(self._without_experts(sorted(last)))
            linear = [module for name in sorted(last) for module in self._matching(name)]
            linear = [module for module in linear if module.kind != "other"]
            found |= {module.path: module for module in self._refuse_bypassed(linear)}
        elif not (names or self.of_experts or self.config.get("lora_target_parameters")):
            self._problem(
                f"no layer gets an adapter, and {self.config.get('adapter')} is asked for",
                _KEY,
                f"List some of {', '.join(self._names(self.shape.body))}, or lora_target_linear:"
                " true",
            )
        return self._in_layers(
            [module for module in self.shape.modules if module.path in found], names
        )

    def _by_expression(self, expression: str) -> list[Module]:
        if self.config.get(_LAYERS):
            self._problem(
                f"has no say beside a {_KEY} that is one text, and PEFT stops there",
                _LAYERS,
                f"List the names in {_KEY}, or put the layers into the expression",
            )
        matches = self._whole(expression, self.known, _KEY)
        if matches is None:
            return []
        if not matches:
            self._problem(
                f"{shown(expression)} matches no layer of this model: one text must match the whole"
                " of a layer's path",
                _KEY,
                f"Write a list of names ({', '.join(self._names(self.shape.body))}), all-linear, or"
                f" an expression for paths like {self._example()}",
            )
        return self._adaptable(matches, expression, (_KEY,))

    def _by_name(self, name: str, place: tuple[str | int, ...]) -> list[Module]:
        matches = [path for path in self.known if path == name or path.endswith(f".{name}")]
        if not matches:
            hint = did_you_mean(name, self._names(), "Its layers")
            if name.lower() == ALL_LINEAR:
                hint = "Write lora_target_modules: all-linear, without the list"
            self._problem(f"{name} matches no layer of this model", place, hint)
        return self._adaptable(matches, name, place)

    def _whole(self, expression: str, paths: Iterable[str], key: str) -> list[str] | None:
        """The paths that an expression matches as a whole; None for one that can't be used."""
        try:
            with guarded():
                return [path for path in paths if re.fullmatch(expression, path)]
        except BadPattern as error:
            self._problem(f"{shown(expression)} {error}", key, "Correct it")
            return None

    def _as_leaves(self, text: str) -> list[str] | None:
        """One text as PEFT reads it where experts are joined: the last names that it stands for.

        None for an expression that can't be used.
        """
        if text.lower() == ALL_LINEAR:
            return sorted({module.name for module in self.shape.body} | self.experts.joined.keys())
        paths = [*self.known]
        for module in self.shape.modules:
            for parameter, _ in module.parameters:
                joined = [old for old, new in self.experts.joined.items() if new == parameter]
                paths += [f"{module.path}.{name}" for name in (parameter, *joined)]
        matches = self._whole(text, paths, _KEY)
        if matches is None:
            return None
        return sorted({path.rsplit(".", 1)[-1] for path in matches}) or [text]

    def _without_experts(self, names: list[str]) -> list[str]:
        """The names that stay; those of single experts go to the parameter that holds them all."""
        kept = []
        for name in names:
            old = name.rsplit(".", 1)[-1]
            if old in self.experts.joined:
                self.of_experts.setdefault(self.experts.joined[old], set()).add(old)
            else:
                kept.append(name)
        for parameter, together in self.experts.fused.items():
            found = self.of_experts.get(parameter, set())
            if found and found != set(together):
                missing = ", ".join(sorted(set(together) - found))
                self._problem(
                    f"{', '.join(sorted(found))} and {missing} are one parameter in every expert,"
                    " and PEFT stops where one of them is named alone",
                    _KEY,
                    f"Name {missing} too",
                )
        return kept

    def _matching(self, name: str) -> list[Module]:
        return [module for module in self.shape.modules if module.name == name]

    def _adaptable(self, paths: list[str], name: str, place: tuple[str | int, ...]) -> list[Module]:
        """Those of the paths that LoRA can adapt; PEFT stops at any other."""
        modules = [self.known[path] for path in paths]
        found = [module for module in modules if module is not None and module.kind != "other"]
        other = [path for path in paths if (self.known[path] or _NOTHING).kind == "other"]
        if other:
            inside = {
                module.name for module in self.shape.body if module.path.startswith(f"{other[0]}.")
            }
            self._problem(
                f"{name} matches {other[0]}, which can't have an adapter, and PEFT stops there",
                place,
                f"Name the layers in it: {', '.join(sorted(inside))}" if inside else "Leave it out",
            )
        if idle := self._idle(found):
            self._problem(
                f"a LoRA on {idle} is never used: {self.shape.model_type} reads that layer's weight"
                " by itself, and PEFT stops",
                place,
                f"Leave {idle} out",
            )
        return found

    def _idle(self, modules: list[Module]) -> str:
        """The names of those whose LoRA the family's kernels pass by; empty for none."""
        excluded = texts(self.config.get(_EXCLUDED))
        idle = {module.name for module in modules} & set(self.family.bypassed)
        return ", ".join(sorted(idle - set(excluded)))

    def _refuse_bypassed(self, modules: list[Module]) -> list[Module]:
        if idle := self._idle(modules):
            named = sorted({module.name for module in modules} - set(self.family.bypassed))
            self._problem(
                f"all linear layers are {idle} too, whose weight {self.shape.model_type}"
                " reads by itself: a LoRA there is never used, and PEFT stops",
                "lora_target_linear" if self.config.get("lora_target_linear") else _KEY,
                f"Write lora_target_modules: [{', '.join(named)}]",
            )
        return modules

    def _in_layers(self, modules: list[Module], names: list[str]) -> list[Module]:
        """Those in the layers of `peft_layers_to_transform`; a full path matches in any layer."""
        layers = self.config.get(_LAYERS)
        listed = layers if isinstance(layers, list) else [layers]
        wanted = {layer for layer in listed if isinstance(layer, int)}
        if not wanted:
            return modules
        beyond = sorted(layer for layer in wanted if not 0 <= layer < self.shape.layers)
        if beyond:
            self._problem(
                f"there is no layer {', '.join(map(str, beyond))}: the model has 0 to"
                f" {self.shape.layers - 1}",
                _LAYERS,
                "Correct the numbers",
            )
        patterns = texts(self.config.get(_LAYERS_PATTERN)) or ["[^.]*"]
        try:
            with guarded():
                numbers = {module.path: layer_of(module.path, patterns) for module in modules}
        except BadPattern as error:
            self._problem(f"{shown(patterns)} {error}", _LAYERS_PATTERN, "Correct it")
            return []
        kept = [
            module for module in modules if module.path in names or numbers[module.path] in wanted
        ]
        if modules and not kept and not beyond:
            self._problem(
                f"no layer is left by these numbers and {_LAYERS_PATTERN}",
                _LAYERS,
                f"A path here is {self._example()}",
            )
        return kept

    def _without_saved(self, modules: list[Module]) -> list[Module]:
        """PEFT leaves out what is trained whole, and what `lora_exclude_modules` names."""
        names = texts(self.config.get(_SAVED))
        excluded = self.config.get(_EXCLUDED)
        out: set[str] = set()
        if isinstance(excluded, str):
            paths = [module.path for module in modules]
            out = set(self._whole(excluded, paths, _EXCLUDED) or ())
        kept = []
        for module in modules:
            path = module.path
            if any(re.match(rf"(^|.*\.){re.escape(name)}($|\..*)", path) for name in names):
                continue
            if isinstance(excluded, str):
                if path in out:
                    continue
            elif any(path == name or path.endswith(f".{name}") for name in texts(excluded)):
                continue
            kept.append(module)
        return kept

    def _saved(self) -> tuple[Module, ...]:
        """The modules that are trained whole: every one whose path ends so, with all inside."""
        found: dict[str, Module] = {}
        for index, name in enumerate(texts(self.config.get(_SAVED))):
            roots = [path for path in self.known if path.endswith(name)]
            if not roots:
                choices = {path.rsplit(".", 1)[-1] for path in self.known}
                choices = {choice for choice in choices if not choice.isdigit()}
                self._problem(
                    f"{name} matches no module of this model",
                    (_SAVED, index),
                    did_you_mean(name, choices, "It has"),
                )
            for module in self.shape.modules:
                if any(module.path == root or module.path.startswith(f"{root}.") for root in roots):
                    found[module.path] = module
        return tuple(found.values())

    def _patterns(self, key: str, modules: list[Module]) -> dict[str, int]:
        """A dictionary of patterns to ranks or alphas, each of which must match a target."""
        patterns = self.config.get(key) or {}
        if not isinstance(patterns, dict):
            self._problem(f"is {patterns!r}, no names with values", key, "Write name: value")
            return {}
        if not modules:
            return {}  # why there are none is said already
        usable = {}
        for pattern, value in patterns.items():
            try:
                with guarded():
                    used = any(is_of(pattern, module.path) for module in modules)
            except BadPattern as error:
                self._problem(f"{shown(pattern)} {error}", key, "Correct it")
                continue
            usable[pattern] = value
            if not used:
                self._problem(
                    f"{pattern} matches no layer that is adapted",
                    (key, str(pattern)),
                    did_you_mean(str(pattern), self._names(modules), "Adapted"),
                )
        return usable

    def _experts(self) -> tuple[tuple[int, ...], ...]:
        """A and B of a weight for all experts at once, (experts, a, b): a rank for each expert."""
        wanted = dict.fromkeys(texts(self.config.get("lora_target_parameters")), 1)
        # What was several layers has the rank of them all.
        wanted |= {name: len(olds) for name, olds in self.of_experts.items()}
        shapes: list[tuple[int, ...]] = []
        for name, times in wanted.items():
            found = [
                sizes
                for module in self.shape.modules
                for parameter, sizes in module.parameters
                if f".{module.path}.{parameter}".endswith(f".{name}") and len(sizes) in (2, 3)
            ]
            if not found and name not in self.of_experts:
                self._problem(
                    f"{name} matches no parameter of this model",
                    "lora_target_parameters",
                    did_you_mean(name, {p for m in self.shape.modules for p, _ in m.parameters}),
                )
            for sizes in found:
                ranks = rank_of(self.config.get("lora_r")) * times
                ranks *= sizes[0] if len(sizes) == 3 else 1
                shapes += [(ranks, sizes[-1]), (sizes[-2], ranks)]
        return tuple(shapes)

    def _tokens(self) -> tuple[tuple[int, int], ...]:
        wanted = self.config.get("peft_trainable_token_indices")
        if not wanted:
            return ()
        default = [module for module in self.shape.modules if module.kind == "embedding"][:1]
        by_name = wanted if isinstance(wanted, dict) else {m.name: wanted for m in default}
        shapes = []
        for name, indices in by_name.items():
            tables = [m for m in self.shape.modules if m.path.endswith(str(name)) and m.weight]
            if not tables:
                self._problem(
                    f"{name} matches no module of this model",
                    "peft_trainable_token_indices",
                    did_you_mean(str(name), self._names(), "It has"),
                )
            count = len(indices) if isinstance(indices, list) else 1
            shapes += [(count, self.shape.hidden_size) for _ in tables]
        return tuple(shapes)

    def _example(self) -> str:
        return next((module.path for module in self.shape.body), "model.layers.0.mlp.up_proj")


_NOTHING = Module("", "other", "", ())
