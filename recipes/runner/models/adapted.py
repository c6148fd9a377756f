"""What an adapter trains: layers with a LoRA, modules trained whole, and what was asked in vain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from recipes.runner.core.errors import UserError
from recipes.runner.models.architecture import Module


@dataclass(frozen=True)
class Adapted:
    """A module with a LoRA beside it, and the LoRA's rank."""

    module: Module
    rank: int

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of A (rank, in) and B (out, rank); an embedding's are (rank, rows) and (width, rank)."""
        return (self.rank, self.module.in_features), (self.module.out_features, self.rank)


class Problem(NamedTuple):
    """A name that the model has no use for.

    Attributes:
        place: its key in the recipe, and its place in the list where it is one of several.
        what: what is wrong.
        todo: what to do about it.
    """

    place: tuple[str | int, ...]
    what: str
    todo: str

    def error(self) -> UserError:
        """The same as a line."""
        return UserError(self.what, str(self.place[0]), self.todo)


@dataclass(frozen=True)
class Targets:
    """What an adapter trains, and what a recipe asked for in vain.

    Attributes:
        adapted: modules with a LoRA.
        saved: modules trained whole, each a copy beside the frozen one (`lora_modules_to_save`).
        experts: shapes of the LoRA of parameters that stand in no layer (`lora_target_parameters`).
        tokens: shapes of single embeddings that are trained (`peft_trainable_token_indices`).
        problems: every name that matches nothing, or nothing that can be adapted.
    """

    adapted: tuple[Adapted, ...]
    saved: tuple[Module, ...]
    experts: tuple[tuple[int, ...], ...]
    tokens: tuple[tuple[int, int], ...]
    problems: tuple[Problem, ...]
