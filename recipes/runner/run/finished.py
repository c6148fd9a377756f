"""A finished run as evaluation needs it: its folder, its record and its adapter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT, did_you_mean, display_path, load_recipe
from recipes.runner.run.record import RUNNING

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        path: the folder.
        record: run.json.
    """

    path: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """The resolved Axolotl configuration that it was trained with."""
        return self.record["config"]

    @property
    def base_model(self) -> str:
        """Name or path of the base."""
        return str(self.config["base_model"])

    @property
    def eval_dir(self) -> Path:
        """Where the results of its evaluation go."""
        return self.path / "eval"

    def summary(self, folder: Path | None = None) -> dict[str, Any] | None:
        """What its last evaluation found, summary.json; None when it was not evaluated yet.

        Args:
            folder: that of its evaluation against another run.

        Raises:
            UserError: the file is broken.
        """
        path = (folder or self.eval_dir) / "summary.json"
        return _read_json(path, "Evaluate again") if path.is_file() else None

    def check_adapter(self) -> None:
        """Make sure that it holds an adapter for its own base.

        Raises:
            UserError: no adapter, an adapter in another format, or one for another base.
        """
        where = display_path(self.path)
        if (
            not (self.path / ADAPTER_WEIGHTS).is_file()
            or not (self.path / ADAPTER_CONFIG).is_file()
        ):
            files = f"({ADAPTER_WEIGHTS} with {ADAPTER_CONFIG})"
            command = f"make train RECIPE={self.record.get('recipe', '...')}"
            if self.record.get("status") == RUNNING:
                what, todo = (
                    f"holds no adapter yet {files}: its training has not ended",
                    (f"Wait for it; where it was stopped, go on: {command}"),
                )
            else:
                what, todo = f"holds no adapter {files}", f"Train it first: {command}"
            raise UserError(what, where, todo)
        trained_on = _read_json(self.path / ADAPTER_CONFIG).get("base_model_name_or_path")
        if trained_on and not same_model(str(trained_on), self.base_model):
            raise UserError(
                f"the adapter was trained on another base, {trained_on}, than the run's, "
                f"{self.base_model}",
                display_path(self.path / ADAPTER_CONFIG),
                "Evaluate it with the run that it belongs to",
            )

    def held_out_file(self) -> Path:
        """``test.jsonl`` beside the conversations that it was trained on.

        A run on preferences was trained on conversations before, by the run that it went on from.

        Raises:
            UserError: the run names no local data, or the file is not there.
        """
        if self.config.get("rl"):
            return self._before().held_out_file()
        sources = self.config.get("datasets") or []
        path = Path(str(sources[0].get("path", ""))) if sources else Path()
        test = (path if path.is_absolute() else ROOT / path).parent / "test.jsonl"
        if not path.name or not test.is_file():
            raise UserError(
                "the held-out conversations are missing",
                display_path(test),
                f"Make them: make data DATASET={test.parent.name}",
            )
        return test

    def _before(self) -> Run:
        """The run that this one went on from."""
        folder = self.config.get("lora_model_dir")
        try:
            found: Run | None = find_run(str(ROOT / folder) if folder else None, None)
        except UserError:
            found = None
        if found is None or found.path.resolve() == self.path.resolve():
            raise UserError(
                "trained on preferences, and its held-out conversations are those of the run that"
                f" it went on from: {folder or 'none'}",
                display_path(self.path),
                "Bring that run's folder back",
            )
        return found


def base_bits(config: dict[str, Any]) -> Literal[4, 8, 16]:
    """In how many bits a configuration holds the base."""
    return 4 if config.get("load_in_4bit") else 8 if config.get("load_in_8bit") else 16


def find_run(run: str | None, recipe: str | None) -> Run:
    """The run named by its folder, or the one that a recipe writes; empty names count as none.

    Raises:
        UserError: no such run, or its run.json is missing or broken.
    """
    names = sorted(path.parent.name for path in (ROOT / "runs").glob("*/run.json"))
    if run:
        folder = Path(run) if Path(run).is_dir() else ROOT / "runs" / run
        todo = did_you_mean(run, names, "Runs")
    elif recipe:
        loaded = load_recipe(recipe)
        folder = ROOT / str(loaded.config.get("output_dir", f"runs/{loaded.name}"))
        todo = f"Train it first: make train RECIPE={loaded.name}"
    else:
        todo = f"Give RUN=name or RECIPE=name. Runs: {', '.join(names) or 'none yet'}"
        raise UserError("no run was named", "RUN", todo)
    if not folder.is_dir():
        raise UserError("there is no such run", display_path(folder), todo)
    if not (folder / "run.json").is_file():
        raise UserError("is no run: it holds no run.json", display_path(folder), todo)
    record = _read_json(folder / "run.json")
    if not isinstance(record.get("config"), dict) or not record["config"].get("base_model"):
        raise UserError(
            "names no config with a base_model", display_path(folder / "run.json"), "Train it again"
        )
    return Run(folder, record)


def _read_json(path: Path, todo: str = "") -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"is not JSON: {error}", display_path(path), todo) from None
    if not isinstance(data, dict):
        raise UserError("holds no JSON object", display_path(path), todo)
    return data


def same_model(left: str, right: str) -> bool:
    """Whether two names or paths are of one model."""
    paths = [path if path.is_absolute() else ROOT / path for path in (Path(left), Path(right))]
    if all(path.exists() for path in paths):
        return paths[0].resolve() == paths[1].resolve()
    return left.rstrip("/") == right.rstrip("/")
