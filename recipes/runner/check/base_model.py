"""What can be known of a base model without its weights: configuration, modules, tokens."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

from recipes.runner.check.finding import words
from recipes.runner.core.paths import ROOT, is_file
from recipes.runner.models.architecture import MOST_LAYERS, kept_file, read_config
from recipes.runner.models.hub import hub_is_off

_HUB_TIMEOUT = 3.0  # seconds


class Module(NamedTuple):
    """One module of a model.

    Attributes:
        name: its whole name, such as ``model.layers.0.self_attn.q_proj``.
        kind: the name of its class.
    """

    name: str
    kind: str


class Modules(NamedTuple):
    """The modules and parameters of a model, by their names."""

    modules: tuple[Module, ...]
    parameters: tuple[str, ...]


def local_folder(name: str) -> Path:
    """Where a local model of this name would lie."""
    path = Path(name).expanduser()
    return path if path.is_absolute() else ROOT / path


def raw_config(config: dict[str, Any]) -> dict[str, Any] | None:
    """The base model's config.json: kept, local or in the Hub's cache; None where it is nowhere."""
    name = config.get("base_model_config") or config.get("base_model")
    return _raw_config(name) if isinstance(name, str) and name and len(name) < 500 else None


@functools.cache
def _raw_config(name: str) -> dict[str, Any] | None:
    places = [local_folder(name) / "config.json"]
    if cached := cached_file(name, "config.json"):
        places.append(cached)
    if is_file(kept_file(name)):
        kept: dict[str, Any] = json.loads(kept_file(name).read_text(encoding="utf-8"))
        return dict(kept["config"])
    for place in places:
        try:
            found = read_config(place)
        except (OSError, ValueError):
            continue
        layers = found.get("num_hidden_layers") if isinstance(found, dict) else None
        if isinstance(found, dict) and not (isinstance(layers, int) and layers > MOST_LAYERS):
            return found
    return None


def cached_file(name: str, file: str) -> Path | None:
    """A file of a model in the Hub's cache on this machine."""
    import huggingface_hub

    try:
        found = huggingface_hub.try_to_load_from_cache(name, file)
    except Exception:  # a name that can't be one of the Hub's
        return None
    return Path(found) if isinstance(found, str) else None


@functools.cache
def _built(name: str) -> Any:
    from transformers import AutoConfig

    raw = _raw_config(name)
    if raw is None or not raw.get("model_type"):
        return None
    try:
        return AutoConfig.for_model(**raw)
    except Exception:  # a family that this transformers doesn't know
        return None


def built_config(config: dict[str, Any]) -> Any:
    """transformers' configuration of the base model; None where it can't be had."""
    name = config.get("base_model_config") or config.get("base_model")
    return _built(name) if isinstance(name, str) and name and len(name) < 500 else None


def config_keys(config: dict[str, Any]) -> set[str] | None:
    """The keys that the model's configuration has."""
    built = built_config(config)
    return set(built.to_dict()) | set(vars(built)) if built is not None else None


def modules_of(config: dict[str, Any]) -> Modules | None:
    """Every module of the base model; None where its configuration can't be had."""
    built = built_config(config)
    if built is None:
        return None
    return _modules(str(config.get("base_model_config") or config.get("base_model")))


@functools.cache
def _modules(name: str) -> Modules | None:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(_built(name))
    except Exception:  # no causal language model, or one whose code is not in transformers
        return None
    found = tuple(
        Module(path, type(module).__name__) for path, module in model.named_modules() if path
    )
    return Modules(found, tuple(path for path, _ in model.named_parameters()))


def embedding_modules(config: dict[str, Any]) -> list[str]:
    """The last names of the modules that embed a token and that give each one's logit.

    Of a model that can't be built: those of Llama, which most families have.
    """
    found = modules_of(config)
    modules = found.modules if found else ()
    embeds = [module.name.rsplit(".", 1)[-1] for module in modules if module.kind == "Embedding"]
    heads = [m.name for m in modules if m.kind.endswith("Linear") and "." not in m.name]
    return [*embeds[:1], *heads] if embeds and heads else ["embed_tokens", "lm_head"]


def model_type(config: dict[str, Any]) -> str | None:
    """transformers' name for the family; None where it can't be known."""
    raw = raw_config(config)
    found = raw.get("model_type") if raw else None
    return str(found) if found else None


# The special tokens of the bases that the recipes name. Falcon's are those of its tokenizer.json;
# Qwen's and Mistral's were written down from their documentation and not compared with their files.
_FALCON = words("""
    >>TITLE<< >>ABSTRACT<< >>INTRODUCTION<< >>SUMMARY<< >>COMMENT<< >>ANSWER<<
    >>QUESTION<< >>DOMAIN<< >>PREFIX<< >>SUFFIX<< >>MIDDLE<< <|endoftext|>
    """)
_SPECIAL_TOKENS = {
    "tiiuae/falcon-7b": _FALCON,
    "tiiuae/falcon-7b-instruct": _FALCON,
    "tiiuae/falcon-40b": _FALCON,
    "Qwen/Qwen2.5-7B-Instruct": words("""
    <|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|>
    <|box_start|> <|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|>
    <|vision_pad|> <|image_pad|> <|video_pad|>
    """
),
    "mistralai/Mistral-7B-Instruct-v0.3": [
        "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]",
        "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
        *(f"[control_{n}]" for n in range(8, 769)),
    ],
}  # fmt: skip


@functools.cache
def model_json(name: str, file: str) -> dict[str, Any] | None:
    """A JSON file of a model that is on this machine; None where it isn't, or holds no keys.

    Args:
        name: a folder, or a model's name on the Hub.
        file: as ``tokenizer.json``.
    """
    for place in (local_folder(name) / file, cached_file(name, file)):
        try:
            found = json.loads(place.read_text(encoding="utf-8")) if place else None
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            return found
    return None


@functools.cache
def vocabulary(name: str) -> tuple[frozenset[str], bool] | None:
    """The tokens of a tokenizer that is on this machine.

    Args:
        name: a folder, or a model's name on the Hub.

    Returns:
        Its tokens, and whether they are all of them or the special ones alone; None where the
        tokenizer can't be had.
    """
    found = model_json(name, "tokenizer.json")
    if found is None:
        tokens = _SPECIAL_TOKENS.get(name)
        return (frozenset(tokens), False) if tokens else None
    words = (found.get("model") or {}).get("vocab") or {}
    listed = [entry[0] for entry in words] if isinstance(words, list) else list(words)
    added = [str(token.get("content")) for token in found.get("added_tokens") or []]
    return frozenset([*listed, *added]), True


def added_tokens(name: str) -> frozenset[int] | None:
    """The numbers of a tokenizer's added tokens; None where the tokenizer is not on this machine.

    Args:
        name: a folder, or a model's name on the Hub.
    """
    found = model_json(name, "tokenizer.json")
    if found is None:
        return None
    return frozenset(int(token["id"]) for token in found.get("added_tokens") or [])


_unreachable = False


@functools.cache
def on_hub(kind: str, name: str) -> bool | None:
    """Whether the Hub has a repository.

    Args:
        kind: ``model`` or ``dataset``.
        name: such as ``org/name``.

    Returns:
        None where the Hub can't be asked: no network, or HF_HUB_OFFLINE.
    """
    global _unreachable
    offline = hub_is_off()
    if _unreachable or offline:
        return None
    from huggingface_hub import HfApi, errors

    try:
        HfApi().repo_info(name, repo_type=kind, timeout=_HUB_TIMEOUT)
    except errors.GatedRepoError:
        return True
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        return False
    except Exception:
        # Each way in which a network can fail has a type of its own; once is enough to know.
        _unreachable = True
        return None
    return True
