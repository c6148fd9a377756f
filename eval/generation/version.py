"""Which version of the code made an answer."""

from __future__ import annotations

from pathlib import Path

from datasets_prep import loops
from recipes.runner.run.fingerprint import code_version

_HERE = Path(__file__).parent
# An answer depends on these modules; scoring and reporting may change freely.
_SOURCES = (
    _HERE.parent / "answers.py",
    Path(str(loops.__file__)),
    *(
        _HERE / f"{name}.py"
        for name in (
            "arms",
            "base_model",
            "decoding",
            "dialogue",
            "generate",
            "heldout",
            "loop_stop",
        )
    ),
)


def generation_version() -> str:
    """Hash of the modules that make answers, and the versions of the libraries under them."""
    return code_version(_SOURCES)
