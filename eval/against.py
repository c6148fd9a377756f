"""Which run stands in base's place, and where what is found against it goes."""

from __future__ import annotations

from pathlib import Path

from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path
from recipes.runner.run.finished import Run, base_bits, find_run, same_model

_AGAINST = "against-"  # a folder's name, before that of the run in base's place
# What one load of the base and its tokenizer can't be for two runs at once.
_SHARED = (
    "chat_template",
    "chat_template_jinja",
    "special_tokens",
    "eot_tokens",
    "tokenizer_config",
    "bnb_config_kwargs",
)


def find_reference(run: Run, name: str) -> Run:
    """The run that stands in base's place.

    Args:
        run: the run that is evaluated.
        name: the other's folder, or its name in runs/.

    Raises:
        UserError: no such run, one without an adapter, the same one, or one that one load of the
            base can't serve too.
    """
    other = find_run(name, None)
    if other.path.resolve() == run.path.resolve():
        raise UserError(
            "is the run that is evaluated", f"AGAINST={name}", "Name the run that it began from"
        )
    other.check_adapter()
    differing = [key for key in _SHARED if run.config.get(key) != other.config.get(key)]
    if base_bits(run.config) != base_bits(other.config):
        differing.insert(0, "bits of the base")
    if not same_model(run.base_model, other.base_model):
        differing.insert(0, "base_model")
    if differing:
        raise UserError(
            f"can't stand in base's place: it was trained with another {differing[0]}",
            display_path(other.path),
            f'Evaluate both, then: make compare RUNS="{other.name} {run.name}"',
        )
    return other


def results_folder(run: Run, against: Run | None) -> Path:
    """Where an evaluation goes: ``runs/<run>/eval``, or a folder in it by the name of the other."""
    return run.eval_dir / f"{_AGAINST}{against.name}" if against else run.eval_dir


def against_folders(run: Run) -> list[Path]:
    """Where evaluations of a run against others went, by their names."""
    return sorted(run.eval_dir.glob(f"{_AGAINST}*"))
