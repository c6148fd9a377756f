"""Keep the libraries' import noise off the terminal, and their telemetry off the network."""

from __future__ import annotations

import logging
import os
import warnings

_NOISY = (
    "torchao",
    "bitsandbytes",
    "torch.utils._pytree",
    "transformers",
    "peft",
    "axolotl",
    "httpx",
    "lm_eval",
)


def quiet_libraries() -> None:
    """Call once, before torch or transformers are imported."""
    os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("AXOLOTL_LOG_LEVEL", "ERROR")
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings(
        "ignore", module=r"torch|transformers|peft|bitsandbytes|axolotl|torchao"
    )
