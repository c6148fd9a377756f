"""A process that prepares data trains nothing: it need not import what only training needs.

Axolotl and transformers import what is installed, wanted or not; that is a third of the start of
``python -m datasets_prep``. This is for a process of its own alone: libraries remember that these
were not there.
"""

from __future__ import annotations

import gc
import sys

# Each is optional to who imports it: quantised training, metrics, kernels, loggers, audio, images.
_UNUSED = (
    "bitsandbytes",
    "flash_attn",
    "kernels",
    "librosa",
    "liger_kernel",
    "sklearn",
    "tensorboard",
    "torchao",
    "torchvision",
    "triton",
    "wandb",
    "xformers",
)


# Objects made and not freed between two looks for cycles. What is imported stays, and a row makes
# few: at Python's own 700 a sixth of the processor time goes into looking.
_BETWEEN = 50_000
_begun = False


def start_light() -> None:
    """Leave out what only training needs, and look for no garbage until `settle` is called."""
    global _begun
    _begun = True
    gc.disable()
    leave_out_training()


def settle() -> None:
    """All is imported: set it aside for good, and look for garbage again, now and then.

    Nothing happens in a process that did not call `start_light`.
    """
    if _begun:
        gc.freeze()
        gc.set_threshold(_BETWEEN, 20, 100)
        gc.enable()


def leave_out_training() -> None:
    """Make the libraries that only training needs look as if they were not installed."""
    for name in _UNUSED:
        if name not in sys.modules:
            # What the import system takes for "not there" (importlib.util.find_spec too).
            sys.modules[name] = None  # type: ignore[assignment]
