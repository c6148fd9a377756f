"""The shape of a base model, without its weights and, for our recipes, without the Hub."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_text
from recipes.runner.core.paths import is_file
from recipes.runner.core.quiet import quiet
from recipes.runner.core.recipe import RECIPES, ROOT

_LAYER = re.compile(r"\.(\d+)\.")
MOST_LAYERS = 2_000
"""More than any model has; a configuration that says more is not built."""


Kind = Literal["linear", "embedding", "conv", "other"]


class CannotEstimate(UserError):
    """What a run would take is not known here: `plan` says why, and preflight lets it start."""


@dataclass(frozen=True)
class Module:
    """One module that holds parameters of its own.

    Attributes:
        path: its full name in the model, ``model.layers.0.self_attn.q_proj``.
        kind: what LoRA takes it for; ``other`` it can't adapt (norms, experts, gates).
        class_name: of its Python class; only a plain ``Linear`` is quantised when it is loaded.
        parameters: name to shape, of those it holds itself.
        tied: its weight is another module's (a head on the embeddings), and counts there.
    """

    path: str
    kind: Kind
    class_name: str
    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    tied: bool = False

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rsplit(".", 1)[-1]

    @property
    def weight(self) -> tuple[int, ...]:
        """Shape of its weight: (out, in) of a linear layer; empty where it has none."""
        return dict(self.parameters).get("weight", ())

    @property
    def in_features(self) -> int:
        """Inputs of a linear layer; embeddings of a table."""
        return self.weight[1] if self._turned else self.weight[0]

    @property
    def out_features(self) -> int:
        """Outputs of a linear layer; width of an embedding."""
        return self.weight[0] if self._turned else self.weight[1]

    @property
    def _turned(self) -> bool:
        """Whether its weight is (out, in); GPT-2's Conv1D keeps it the other way round."""
        return self.kind == "linear" and self.class_name != "Conv1D"

    @property
    def size(self) -> int:
        """Its parameters, those of a tied weight too."""
        return sum(math.prod(shape) for _, shape in self.parameters)

    @property
    def own_size(self) -> int:
        """Its parameters, those that count elsewhere left out."""
        return self.size - (math.prod(self.weight) if self.tied else 0)


@dataclass(frozen=True)
class Architecture:
    """What memory and time are estimated from.

    Attributes:
        model_type: transformers' name for the family.
        modules: every module with parameters, in the model's order.
        head: path of the output layer; None where there is none.
        hidden_size: width of the residual stream.
        layers: number of decoder blocks.
        vocabulary: number of token embeddings.
        attention_heads: query heads.
        positions: the longest sequence that the model was made for; None where it doesn't say.
    """

    model_type: str
    modules: tuple[Module, ...]
    head: str | None
    hidden_size: int
    layers: int
    vocabulary: int
    attention_heads: int
    positions: int | None

    @property
    def parameters(self) -> int:
        """All of them, tied ones once."""
        return sum(module.own_size for module in self.modules)

    @property
    def linears(self) -> tuple[Module, ...]:
        """Every linear layer, the head too."""
        return tuple(module for module in self.modules if module.kind == "linear")

    @property
    def body(self) -> tuple[Module, ...]:
        """The linear layers but the head: what stands in the decoder's blocks."""
        return tuple(module for module in self.linears if module.path != self.head)


def architecture(base_model: str) -> Architecture:
    """The shape of a base model, from the nearest description of it.

    Looks for one kept in `recipes/architectures`, which needs no import of transformers; then for
    a local folder; then into the Hub's cache and the Hub.

    Raises:
        UserError: none of them is there.
    """
    kept = _kept(base_model)
    if kept is not None:
        return _from_shape(kept["shape"])
    return build(_config(base_model))


def is_kept(base_model: str) -> bool:
    """Whether `architecture` finds the shape among those kept here, at once."""
    return is_file(kept_file(base_model))


def build(config: Any) -> Architecture:
    """Build the model on the meta device, where it takes no memory, and read its shape.

    Args:
        config: a transformers configuration, or the content of a config.json.

    Raises:
        CannotEstimate: transformers knows no language model of this type.
    """
    import torch

    try:
        with quiet(), torch.device("meta"):
            from transformers import AutoConfig, AutoModelForCausalLM

            built = AutoConfig.for_model(**config) if isinstance(config, dict) else config
            model = AutoModelForCausalLM.from_config(built)
    except Exception as error:  # whatever its own checks raise of a file with other values
        kind = config.get("model_type") if isinstance(config, dict) else config.model_type
        reason = " ".join(str(error).split())[:200]
        raise CannotEstimate(
            f"transformers makes no language model of type {kind}: {reason}",
            "base_model",
            "Name a causal language model that transformers has itself",
        ) from None
    model.tie_weights()
    head = model.get_output_embeddings()
    text = built.get_text_config()
    seen: set[int] = set()
    modules = []
    for path, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        shapes = tuple((name, tuple(parameter.shape)) for name, parameter in own.items())
        tied = "weight" in own and id(own["weight"]) in seen
        seen.update(id(parameter) for parameter in own.values())
        modules.append(Module(path, _kind(module), type(module).__name__, shapes, tied))
    return Architecture(
        model_type=built.model_type,
        modules=tuple(modules),
        head=next((path for path, module in model.named_modules() if module is head), None),
        hidden_size=text.hidden_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        attention_heads=getattr(text, "num_attention_heads", 0) or 0,
        positions=getattr(text, "max_position_embeddings", None),
    )


def _kind(module: Any) -> Kind:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear | Conv1D):
        return "linear"
    if isinstance(module, nn.Embedding):
        return "embedding"
    return "conv" if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) else "other"


def as_json(shape: Architecture) -> dict[str, Any]:
    """The shape as `recipes/architectures` keeps it: like layers together, ``{}`` for their number.

    ``layers`` of an entry lists the numbers, or how many where they run from 0.
    """
    grouped: dict[tuple[Any, ...], list[int]] = {}
    for module in shape.modules:
        path, count = _LAYER.subn(".{}.", module.path, count=1)
        number = [int(_LAYER.search(module.path)[1])] if count else []  # type: ignore[index]
        alike = (path, module.kind, module.class_name, module.parameters, module.tied)
        grouped.setdefault(alike, []).extend(number)
    entries = []
    for (path, kind, class_name, parameters, tied), numbers in grouped.items():
        entry: dict[str, Any] = {"path": path, "kind": kind, "class": class_name}
        entry["parameters"] = {name: list(sizes) for name, sizes in parameters}
        if tied:
            entry["tied"] = True
        if numbers:
            entry["layers"] = (
                len(numbers) if numbers == list(range(len(numbers))) else list(numbers)
            )
        entries.append(entry)
    facts = {key: value for key, value in vars(shape).items() if key != "modules"}
    return {**facts, "parameters": shape.parameters, "modules": entries}


def _from_shape(shape: dict[str, Any]) -> Architecture:
    modules = []
    for entry in shape["modules"]:
        layers = entry.get("layers", [None])
        for number in range(layers) if isinstance(layers, int) else layers:
            path = entry["path"] if number is None else entry["path"].replace("{}", str(number), 1)
            parameters = tuple((name, tuple(sizes)) for name, sizes in entry["parameters"].items())
            modules.append(
                Module(path, entry["kind"], entry["class"], parameters, entry.get("tied", False))
            )
    facts = {key: value for key, value in shape.items() if key not in ("modules", "parameters")}
    return Architecture(**facts, modules=tuple(modules))


def kept_file(base_model: str) -> Path:
    """Where the description of a model would be kept."""
    return RECIPES / "architectures" / f"{base_model.replace('/', '--')}.json"


def keep(base_model: str) -> Path:
    """Write the description of a model, so that `plan` and `check` need neither it nor the Hub.

    Returns:
        The file in `recipes/architectures`, written by rename.

    Raises:
        UserError: the model is neither local nor in reach on the Hub.
    """
    config = _config(base_model)
    plain = config if isinstance(config, dict) else config.to_diff_dict()
    path = kept_file(base_model)
    kept = {"config": plain, "shape": as_json(build(dict(plain)))}
    write_text(path, json.dumps(kept, indent=2) + "\n")
    return path


def _kept(base_model: str) -> dict[str, Any] | None:
    path = kept_file(base_model)
    if not is_file(path):
        return None
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def read_config(path: Path) -> Any:
    """A config.json as transformers reads it, which writes infinity as ``{"__float__": ...}``.

    Raises:
        OSError: it can't be read.
        ValueError: it is no JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"), object_hook=_float_or_object)


def _readable(config: Any) -> Any:
    """A configuration of a size that is built here.

    Raises:
        ValueError: it is no mapping, or of more layers than any model has.
    """
    if not isinstance(config, dict):
        raise ValueError("it holds no keys")
    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise ValueError(f"num_hidden_layers is {layers:,}")
    return config


def _float_or_object(found: dict[str, Any]) -> Any:
    return float(found["__float__"]) if set(found) == {"__float__"} else found


def _config(base_model: str) -> Any:
    local = Path(base_model).expanduser()
    local = local if local.is_absolute() else ROOT / local
    if is_file(local / "config.json"):
        try:
            return _readable(read_config(local / "config.json"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{base_model}/config.json can't be read: {' '.join(str(error).split())[:200]}",
                "base_model",
                "Bring the model's own file",
            ) from None
    from huggingface_hub.utils import logging as hub_logging
    from transformers import AutoConfig

    hub_logging.set_verbosity_error()  # its retries; what they come to is said below
    try:
        return AutoConfig.from_pretrained(base_model, trust_remote_code=False)
    except (OSError, ValueError):
        raise UserError(
            f"{base_model} is neither a local model nor in reach on the Hub",
            "base_model",
            "Correct the name, or check the network",
        ) from None
