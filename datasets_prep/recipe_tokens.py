"""What a recipe says about tokens, read without loading anything heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.runner.core.recipe import ROOT, Recipe
from recipes.runner.models.hub import hub_is_off

# A change of the learning rate makes no new data.
_KEYS = (
    "base_model",
    "base_model_config",
    "revision_of_model",
    "tokenizer_config",
    "tokenizer_type",
    "tokenizer_use_fast",
    "chat_template",
    "chat_template_jinja",
    "chat_template_kwargs",
    "sequence_len",
    "special_tokens",
    "tokens",
    "added_tokens_overrides",
    "eot_tokens",
    "train_on_inputs",
    "default_system_message",
    "rl",
)
_PATHS = ("base_model", "base_model_config", "tokenizer_config", "chat_template_jinja")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
_HUB_TIMEOUT = 3.0


def token_config(recipe: Recipe, dataset: str) -> dict[str, Any]:
    """The keys of a recipe that decide how the rows of a data set become tokens.

    Args:
        recipe: the recipe; paths that do not exist here are taken from the repository's root.
        dataset: name of the data set; of several in the recipe, its own entry counts.

    Returns:
        Axolotl's keys, with one entry under ``datasets``.
    """
    config = {key: recipe.config[key] for key in _KEYS if recipe.config.get(key) is not None}
    entries = recipe.config.get("datasets")
    entries = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    own = [e for e in entries if Path(str(e.get("path", ""))).parts[-2:-1] == (dataset,)]
    entry = {"type": "chat_template", **(own or entries or [{}])[0]}
    for place in (config, entry):
        for key in _PATHS:
            if isinstance(place.get(key), str):
                place[key] = _resolve(place[key])
    config.setdefault("base_model_config", config.get("base_model"))
    config.setdefault("tokenizer_config", config["base_model_config"])
    return {**config, "datasets": [entry]}


def tokenizer_files(config: dict[str, Any]) -> list[Path]:
    """The local files of a `token_config` that decide the tokens; none for a model on the Hub."""
    templates = [place.get("chat_template_jinja") for place in (config, config["datasets"][0])]
    files = [Path(str(t)) for t in templates if t and len(str(t)) < 1000 and "\n" not in str(t)]
    folder = Path(str(config.get("tokenizer_config")))
    files += [folder / name for name in (*_TOKENIZER_FILES, "chat_template.jinja")]
    return [file for file in files if file.is_file()]


def facts(config: dict[str, Any]) -> dict[str, Any]:
    """What of a `token_config` decides the tokens, the same wherever the repository lies."""
    entry = {k: _portable(v) for k, v in config["datasets"][0].items() if k != "path"}
    return {**{k: _portable(v) for k, v in config.items()}, "datasets": [entry]}


def why_no_tokenizer(config: dict[str, Any]) -> str | None:
    """Why the tokenizer of a `token_config` cannot be had; None when it probably can."""
    name = str(config.get("tokenizer_config") or "")
    if not name:
        return "the recipe names no base_model"
    if Path(name).is_dir():
        found = any((Path(name) / file).is_file() for file in _TOKENIZER_FILES)
        return None if found else f"{name} holds no tokenizer"
    if Path(name).is_absolute() or name.startswith((".", "models/")):
        return f"{name} is not there yet"
    return _why_not_on_hub(name, config.get("revision_of_model"))


def _why_not_on_hub(name: str, revision: str | None) -> str | None:
    import huggingface_hub
    from huggingface_hub import errors

    file = "tokenizer_config.json"
    try:
        if isinstance(huggingface_hub.try_to_load_from_cache(name, file, revision=revision), str):
            return None
        if hub_is_off():
            return f"{name} is not on this machine, and HF_HUB_OFFLINE is set"
        url = huggingface_hub.hf_hub_url(name, file, revision=revision)
        huggingface_hub.get_hf_file_metadata(url, timeout=_HUB_TIMEOUT)
    except errors.GatedRepoError:
        return f"{name} is gated on the Hugging Face Hub: log in with a token that may read it"
    except errors.EntryNotFoundError:
        return None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        return f"the Hugging Face Hub has no model {name}"
    except Exception:
        # Each way in which a network can fail has a type of its own.
        return f"the Hugging Face Hub cannot be reached for {name}"
    return None


def _portable(value: Any) -> Any:
    return value.removeprefix(f"{ROOT}/") if isinstance(value, str) else value


def _resolve(value: str) -> str:
    """A path of the repository's, when it is none from here."""
    plain = len(value) < 1000 and "\n" not in value
    if plain and not Path(value).exists() and (ROOT / value).exists():
        return str(ROOT / value)
    return value
