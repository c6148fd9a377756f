"""Rows as tokens, by Axolotl's own code: the tokenizer, the template and the labels of a recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets_prep.quiet import quiet
from recipes.runner.core.errors import UserError

_AXOLOTL_SEQUENCE_LEN = 512


class _Remembering:
    """A tokenizer of `tokenizers` that keeps what it made of the last text.

    Axolotl asks twice for every row, for its ids and for where they stand; that is half of the
    proof's time.
    """

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_last", (None, None))

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_inner"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def encode_batch(self, texts: Any, **keys: Any) -> Any:
        state = (self._inner.truncation, self._inner.padding, self._inner.encode_special_tokens)
        asked = (list(texts), keys, state)
        if self._last[0] != asked:
            made = self._inner.encode_batch(texts, **keys)
            object.__setattr__(self, "_last", (asked, made))
        return self._last[1]


class RecipeTokens:
    """What a recipe makes of rows.

    The tokenizer and the strategy are what ``axolotl train`` loads (`load_tokenizer`,
    `prompt_strategies.load`).

    Args:
        config: the `recipe_tokens.token_config` of a recipe.
        where: the recipe's file, for messages.

    Attributes:
        sequence_len: most tokens of a row.
        config: Axolotl's configuration.
        dataset: its entry under ``datasets``.
        tokenizer: of transformers.
        ends: the tokens that may end a turn, and their ids.
        special: matches the special tokens, which must not stand in a text.

    Raises:
        UserError: the tokenizer or the chat template cannot be had.
    """

    def __init__(self, config: dict[str, Any], where: Path) -> None:
        """Load the tokenizer."""
        with quiet():
            from axolotl.utils.dict import DictDefault

        self.sequence_len = int(config.get("sequence_len") or _AXOLOTL_SEQUENCE_LEN)
        self.config = DictDefault({**config, "sequence_len": self.sequence_len})
        self.dataset = self.config.datasets[0]
        self.tokenizer = self._load_tokenizer(where)
        if getattr(self.tokenizer, "is_fast", False):
            self.tokenizer._tokenizer = _Remembering(self.tokenizer._tokenizer)
        template = str(self.config.chat_template_jinja or "")
        if template.endswith((".jinja", ".jinja2")) and not Path(template).is_file():
            raise UserError(f"chat template '{template}' is not there", str(where))
        named = [self.tokenizer.eos_token, *(config.get("eot_tokens") or [])]
        self.ends = {end: int(self.tokenizer.convert_tokens_to_ids(end)) for end in named if end}
        special = {*self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab()}
        # An added token that is only spaces, as some vocabularies have, is ordinary text.
        names = sorted((s for s in special if s.strip()), key=len, reverse=True)
        self.special = re.compile("|".join(map(re.escape, names)) or r"(?!)")

    @property
    def rl(self) -> str:
        """How the recipe learns from preferences (``dpo``, ``kto``, ...); empty for plain chats."""
        return str(self.config.rl or "")

    def __call__(self, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[list[int], list[int]]]:
        """Token ids and labels of rows, from the code path of ``axolotl train``.

        Yields:
            For each row ``input_ids`` and ``labels`` (`IGNORE` where a token is not trained).
        """
        with quiet():
            made = [self._strategy.tokenize_prompt(self._as_written(row)) for row in rows]
        for row in made:
            yield row["input_ids"], row["labels"]

    def count(self, text: str) -> list[int]:
        """Ids of a text as it stands, nothing added: what Axolotl counts of a preference."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decoded(self, ids: list[int]) -> str:
        """The text of token ids."""
        if getattr(self.tokenizer, "is_fast", False):
            # What `decode` of transformers comes to, which first looks at every id.
            return str(self.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False))
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def why_no_tools(self) -> str | None:
        """Why rows that call tools can't be kept; None when the chat template takes tools."""
        with quiet():
            from axolotl.utils.chat_templates import get_chat_template_from_config

            template = get_chat_template_from_config(
                self.config, ds_cfg=self.dataset, tokenizer=self.tokenizer
            )
        if "tool_calls" in str(template or ""):
            return None
        return "the recipe's chat template takes no tools"

    @cached_property
    def _strategy(self) -> Any:
        with quiet():
            from axolotl.prompt_strategies import load

            kind = "chat_template" if self.rl else str(self.dataset.type)
            strategy = load(kind, self.tokenizer, self.config, self.dataset)
        if not hasattr(strategy, "tokenize_prompt"):
            raise UserError(
                f"rows of chats can't be proven as datasets.type '{kind}'",
                "the recipe",
                "Set type: chat_template",
            )
        return strategy

    def _as_written(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with the columns that training reads; a copy where strategies change it."""
        kept: dict[str, Any] = {k: row[k] for k in ("messages", "tools") if k in row}
        field = str(self.dataset.get("field_messages") or "messages")
        kept = {**kept, field: kept["messages"]}
        if "tools" in kept or any("tool_calls" in m for m in kept[field]):
            kept = json.loads(json.dumps(kept))
        return kept

    def _load_tokenizer(self, where: Path) -> Any:
        try:
            with quiet():
                from axolotl.loaders import load_tokenizer

                return load_tokenizer(self.config)
        except Exception as error:
            # transformers and huggingface_hub raise many types when a model cannot be had.
            text = " ".join(str(error).split())
            raise UserError(
                f"the tokenizer of {self.config.tokenizer_config} cannot be had ({text[:160]})",
                str(where),
                "Check the network, or set base_model and tokenizer_config to a local folder",
            ) from None
