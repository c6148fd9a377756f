"""Load the base model and its tokenizer the way the run did."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from plugins.falcon import quantization as falcon_quantization
from plugins.hardware import keep_gradients_on_cpu
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT
from recipes.runner.models.families import family_of
from recipes.runner.run.fingerprint import digest, folder_digest
from recipes.runner.run.finished import base_bits

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Base:
    """A loaded base model.

    Attributes:
        model: in eval mode, on its device.
        tokenizer: with the run's special tokens and chat template, padding on the left.
        held: how the weights are held, in words.
        digest: hash of the weights, how they are held, and the chat template.
        context: tokens that fit into the model.
    """

    model: Any
    tokenizer: Any
    held: str
    digest: str
    context: int


def axolotl_config(config: dict[str, Any]) -> Any:
    """The run's configuration as Axolotl's own loaders take it."""
    from axolotl.utils.dict import DictDefault

    settings = dict(config)
    base = _local(str(config["base_model"]))
    settings["base_model"] = base
    for key in ("tokenizer_config", "base_model_config"):
        settings[key] = _local(str(config.get(key) or config["base_model"]))
    template = config.get("chat_template_jinja")
    if isinstance(template, str) and template.endswith(".jinja"):
        path = Path(template) if Path(template).is_absolute() else ROOT / template
        if not path.is_file():
            raise UserError("the run's chat template is missing", str(template))
        settings["chat_template_jinja"] = path.read_text(encoding="utf-8")
    settings["trust_remote_code"] = False
    return DictDefault(settings)


def _no_template(base: str) -> UserError:
    return UserError("has no chat template", base, "Name one in the recipe: chat_template")


def load_tokenizer(config: dict[str, Any]) -> Any:
    """The run's tokenizer, made by Axolotl's own loader.

    Raises:
        UserError: there is none, or it has no chat template or no end token.
    """
    from axolotl.loaders.tokenizer import load_tokenizer as load

    base = str(config["base_model"])
    try:
        tokenizer = load(axolotl_config(config))
    except (OSError, ValueError) as error:
        if "chat_template is null" in str(error):  # said where a recipe takes the tokenizer's own
            raise _no_template(base) from None
        raise UserError(f"the tokenizer can't be loaded: {_first_line(error)}", base) from None
    if not tokenizer.chat_template:
        raise _no_template(base)
    if tokenizer.eos_token_id is None:
        raise UserError(
            "has no end token",
            str(config["base_model"]),
            "Name one in the recipe: special_tokens.eos_token",
        )
    tokenizer.padding_side = "left"
    return tokenizer


def load_base(
    config: dict[str, Any],
    dtype: str = "auto",
    device: str | None = None,
    unpack: bool = True,
) -> Base:
    """Load the base of a run, quantised as the run held it.

    On a CPU a quantised base is unpacked once after loading: the values stay the quantised ones,
    and no token pays for unpacking.

    Args:
        config: the run's resolved configuration.
        dtype: ``bf16``, ``fp16``, ``fp32``, or ``auto``: what the run computed in, or bf16 where
            this machine has instructions for it, else fp32.
        device: where to; default: the first GPU, or the CPU.
        unpack: False keeps a quantised base packed on a CPU too, as training held it.

    Raises:
        UserError: the base can't be found or read.
    """
    transformers_logging.disable_progress_bar()
    tokenizer = load_tokenizer(config)
    device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    short = pick_dtype(config, device) if dtype == "auto" else dtype
    name = _local(str(config["base_model"]))
    bits = base_bits(config)
    try:
        model_config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if family_of(model_config.model_type).own_linear:
            falcon_quantization.enable()
        model = AutoModelForCausalLM.from_pretrained(
            name,
            config=model_config,
            dtype=DTYPES[short],
            device_map=device,
            use_safetensors=True,
            trust_remote_code=False,
            # On a CPU, SDPA in bf16 takes three times as long as plain attention for one new token.
            attn_implementation="eager" if device == "cpu" else "sdpa",
            quantization_config=_quantization(config, bits, short, model_config.model_type),
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"the base can't be loaded: {_first_line(error)}", name, "Check base_model of the run"
        ) from None
    held = {
        4: "4 bit (nf4) as the run held it",
        8: "8 bit as the run held it",
        16: "not quantised",
    }[bits]
    if bits < 16 and device == "cpu" and unpack:
        model = model.dequantize()
        held += ", unpacked once on the CPU"
    elif bits < 16 and device == "cpu":
        # As in training; and Falcon-H1's in_proj has no multiple of 32 rows, which repacking wants.
        keep_gradients_on_cpu(model)
    held += f", computed in {short}"
    model.eval()
    identity = digest(
        [
            _weights_digest(name),
            held,
            str(device),
            tokenizer.chat_template,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
        ]
    )
    context = int(getattr(model_config, "max_position_embeddings", 0) or 2048)
    return Base(model, tokenizer, held, identity, context)


def pick_dtype(config: dict[str, Any], device: str) -> str:
    """The dtype that ``auto`` means here."""
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() and not config.get("fp16") else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def _quantization(
    config: dict[str, Any], bits: int, short: str, model_type: str
) -> BitsAndBytesConfig | None:
    if bits == 16:
        return None
    # Axolotl's defaults for an adapter run in few bits, and what the recipe says over them.
    settings: dict[str, Any] = {}
    if family_of(model_type).bypassed:
        settings["llm_int8_skip_modules"] = list(family_of(model_type).bypassed)
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, **settings)
    settings |= {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    settings |= dict(config.get("bnb_config_kwargs") or {})
    settings["bnb_4bit_compute_dtype"] = DTYPES[short]
    return BitsAndBytesConfig(**{**settings, "load_in_4bit": True})


def _weights_digest(name: str) -> str:
    config_file = cached_file(name, "config.json")
    folder = Path(str(config_file)).parent
    return folder_digest(folder, ("*.safetensors", "config.json"))


def _local(name: str) -> str:
    """A path of the repository as an absolute one; any other name as it is."""
    path = ROOT / name
    return str(path) if path.is_dir() else os.fspath(name)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
