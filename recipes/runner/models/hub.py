"""What is known of the base models that the recipes name: where they live, under which licence."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recipes.runner.core.paths import is_folder
from recipes.runner.core.recipe import ROOT
from recipes.runner.models.smollm2 import FOLDER, PACKAGE

# As their own pages on the Hub state it.
_LICENCES = {
    "tiiuae/falcon-7b": "apache-2.0",
    "tiiuae/falcon-7b-instruct": "apache-2.0",
    "mistralai/Mistral-7B-Instruct-v0.3": "apache-2.0",
    "Qwen/Qwen2.5-7B-Instruct": "apache-2.0",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "apache-2.0",
}
_SMALL_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class BaseModel:
    """A base as a stranger has to find it.

    Attributes:
        name: as the run names it: a Hub id or a folder.
        hub_id: its id on the Hub; None for a local folder that is not known to be there.
        licence: its licence as the Hub spells it; None where it is not known here.
        note: what differs between the base on the Hub and the one that was trained on.
    """

    name: str
    hub_id: str | None
    licence: str | None
    note: str = ""


def describe_base(name: str) -> BaseModel:
    """What is known of the base that a run names, a Hub id or a folder."""
    folder = ROOT / name
    if folder == FOLDER:
        note = (
            f"Trained on the copy in the Python package {PACKAGE}, which holds the weights in"
            " Q4_1 (4 bits); the weights on the Hub differ by that rounding."
        )
        return BaseModel(name, _SMALL_MODEL, _LICENCES[_SMALL_MODEL], note)
    if is_folder(folder) or Path(name).is_absolute() or name.startswith("."):
        return BaseModel(name, None, None)
    return BaseModel(name, name, _LICENCES.get(name))


def hub_is_off() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the Hub, by any of the words that people write."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")
