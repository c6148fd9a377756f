"""Prove: rows tokenised by Axolotl itself, and compared with what training needs.

The tokenizer, the strategy and the labels are Axolotl's (`tokenising.RecipeTokens`). Our part is
only the comparison: decoded, the trained runs of a row must be its assistant turns, in order, each
with an end token, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datasets_prep.conversation import Conversation, Ledger, Message, Span
from datasets_prep.pieces import Piece, exchanges, joined, plan
from datasets_prep.preferences import PreferenceTokens, chats_of
from datasets_prep.settings import FilterSettings, ProveSettings
from datasets_prep.tokenising import RecipeTokens
from recipes.runner.core.errors import UserError
from recipes.runner.core.labels import IGNORE

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Proven:
    """What became of one row.

    Attributes:
        rows: those to write in its place.
        tokens: their lengths.
        trained: how many of these are trained on, in all.
        sides: of a preference, tokens of the prompt and of each answer.
    """

    rows: list[dict[str, Any]]
    tokens: list[int]
    trained: int = 0
    sides: dict[str, int] = field(default_factory=dict)


class Prover:
    """The checks on what a recipe makes of rows.

    Args:
        config: the `recipe_tokens.token_config` of a recipe.
        where: the recipe's file, for messages.

    Raises:
        UserError: the tokenizer or the chat template cannot be had.
    """

    def __init__(self, config: dict[str, Any], where: Path) -> None:
        """Load the tokenizer."""
        self.tokens = RecipeTokens(config, where)
        self.sequence_len = self.tokens.sequence_len
        self._sides = PreferenceTokens(self.tokens)
        self._trained: dict[str, int] = {}

    def prove(
        self,
        batch: list[dict[str, Any]],
        settings: ProveSettings,
        limits: FilterSettings | None,
        ledger: Ledger,
    ) -> list[Proven]:
        """Tokenise a batch of rows as training will, and check every one.

        Args:
            batch: rows as they stand in the split files.
            settings: what to do with rows that are too long or hold a special token.
            limits: limits in tokens, if any.
            ledger: gets a line for every row split or dropped.

        Returns:
            One result a row; without rows when it was dropped.

        Raises:
            UserError: a row cannot be trained on as it is; names the row.
        """
        if batch and ("chosen" in batch[0] or "completion" in batch[0]):
            return self._preferences(batch, settings, ledger)
        self._trained = {}
        results: list[Proven | None] = [self._refused(row, settings, ledger) for row in batch]
        open_rows = [i for i, result in enumerate(results) if result is None]
        lengths = self._lengths([batch[i] for i in open_rows])
        long: dict[int, str] = {}
        for index, tokens in zip(open_rows, lengths, strict=True):
            row = batch[index]
            results[index] = self._fit(row, tokens, settings, limits, ledger)
            if results[index] is None:
                long[index] = f"{tokens} tokens, more than sequence_len {self.sequence_len}"
        pieces = self._pieces([batch[i] for i in long])
        for (index, too_long), parts in zip(long.items(), pieces, strict=True):
            results[index] = _split(batch[index], too_long, parts, ledger)
        return [
            Proven(r.rows, r.tokens, sum(self._trained.get(row["id"], 0) for row in r.rows))
            for r in results
            if r is not None
        ]

    def _preferences(
        self, batch: list[dict[str, Any]], settings: ProveSettings, ledger: Ledger
    ) -> list[Proven]:
        """Rows for DPO or KTO: the prompt must fit with each of its answers."""
        results = []
        for row in batch:
            chats = chats_of(row)
            tried = (self._refused(chat, settings, ledger) for chat in chats)
            if any(result is not None for result in tried):
                results.append(Proven([], []))
                continue
            sides = self._sides(row)
            if sides.longest > self.sequence_len:
                too_long = f"{sides.longest} tokens, more than sequence_len {self.sequence_len}"
                if settings.too_long == "fail":
                    raise UserError(too_long, row["id"], "Raise sequence_len")
                ledger.dropped(_conversation(chats[0]), too_long)
                results.append(Proven([], []))
                continue
            found = {"prompt": sides.prompt, **sides.answers}
            results.append(Proven([row], [sides.longest], sum(sides.answers.values()), found))
        return results

    def _lengths(self, rows: list[dict[str, Any]]) -> list[int]:
        """Tokens of rows, each of which is checked."""
        lengths = []
        for row, (ids, labels) in zip(rows, self.tokens(rows), strict=True):
            self._trained[row["id"]] = self._check(row, ids, labels)
            lengths.append(len(ids))
        return lengths

    def _refused(
        self, row: dict[str, Any], settings: ProveSettings, ledger: Ledger
    ) -> Proven | None:
        roles = [m["role"] for m in row["messages"] if m["role"] != "system"]
        if _has_tools(row):
            roles = ["user", "assistant"]
        if any(m.get("training") is False for m in row["messages"]):
            self._refuse_unread_flags(row)
        if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
            raise UserError(f"roles do not alternate: {', '.join(roles)}", row["id"])
        for message in row["messages"]:
            match = self.tokens.special.search(message["content"])
            if match is None:
                continue
            text = f"the special token {match.group()} stands in the {message['role']} text"
            if settings.special_token == "fail":
                todo = "Fix the text, or set steps.prove.special_token: drop"
                raise UserError(text, row["id"], todo)
            ledger.dropped(_conversation(row), text)
            return Proven([], [])
        return None

    def _refuse_unread_flags(self, row: dict[str, Any]) -> None:
        if self.tokens.dataset.get("message_field_training") != "training":
            raise UserError(
                "a turn is not to be trained (weight 0 or train: false), and the recipe would",
                row["id"],
                "Add message_field_training: training to the recipe's datasets",
            )

    def _check(self, row: dict[str, Any], ids: list[int], labels: list[int]) -> int:
        """Compare the trained runs with the assistant turns; how many tokens are trained."""
        runs = [ids[start:end] for start, end in _trained_runs(ids, labels)]
        trained = sum(map(len, runs))
        said = [m for m in row["messages"] if m["role"] == "assistant"]
        turns = [m["content"] for m in said if m.get("training", True)]
        if _has_tools(row):
            self._check_tools(row, runs, turns)
            return trained
        for number, (run, turn) in enumerate(zip(runs, turns, strict=False), 1):
            end = next((e for e, i in self.tokens.ends.items() if run and run[-1] == i), None)
            text = self.tokens.decoded(run)
            if end is not None:
                text = text.rstrip().removesuffix(end)
            if _SPACE.sub("", text) != _SPACE.sub("", turn):
                raise UserError(
                    f"assistant turn {number} is not what is trained: {_difference(text, turn)}",
                    row["id"],
                    "Check roles_to_train, train_on_eos and the chat template of the recipe",
                )
            if end is None:
                raise UserError(
                    f"the end token of assistant turn {number} is not trained "
                    f"(none of {', '.join(self.tokens.ends)})",
                    row["id"],
                    "Set train_on_eos: turn, and eot_tokens to the template's end token",
                )
        if len(runs) != len(turns):
            raise UserError(
                f"{len(turns)} assistant turns, but {len(runs)} trained runs of tokens",
                row["id"],
                "Check roles_to_train and the chat template of the recipe",
            )
        return trained

    def _check_tools(self, row: dict[str, Any], runs: list[list[int]], turns: list[str]) -> None:
        """Of a talk with tools: a trained run for each assistant turn, with its text in it."""
        texts = [self.tokens.decoded(run) for run in runs]
        whole = len(texts) == len(turns) and all(
            _SPACE.sub("", turn) in _SPACE.sub("", text)
            for text, turn in zip(texts, turns, strict=True)
        )
        if not whole:
            raise UserError(
                f"{len(turns)} assistant turns, and they are not what is trained",
                row["id"],
                "Check roles_to_train and the chat template of the recipe, or set tools: drop",
            )

    def _fit(
        self,
        row: dict[str, Any],
        tokens: int,
        settings: ProveSettings,
        limits: FilterSettings | None,
        ledger: Ledger,
    ) -> Proven | None:
        """The row, or none when it is dropped; None when it is to be split."""
        if limits and limits.min_tokens and tokens < limits.min_tokens:
            ledger.dropped(_conversation(row), f"{tokens} tokens, under {limits.min_tokens}")
            return Proven([], [])
        if limits and limits.max_tokens and tokens > limits.max_tokens:
            ledger.dropped(_conversation(row), f"{tokens} tokens, over {limits.max_tokens}")
            return Proven([], [])
        if tokens <= self.sequence_len:
            return Proven([row], [tokens])
        if settings.too_long == "split" and not _has_tools(row):
            return None
        too_long = f"{tokens} tokens, more than sequence_len {self.sequence_len}"
        if settings.too_long == "fail":
            todo = "Raise sequence_len, or set steps.prove.too_long: split"
            raise UserError(too_long, row["id"], todo)
        ledger.dropped(_conversation(row), too_long)
        return Proven([], [])

    def _pieces(self, rows: list[dict[str, Any]]) -> list[list[Piece]]:
        """Cut rows between exchanges so that every piece fits; an exchange that does not, goes.

        Tokenised in three rounds for all rows at once, as each has its price: every exchange by
        itself, the first two of a row together (which tells what a longer piece saves), and the
        pieces.
        """
        cuts = [exchanges(row) for row in rows]
        single = iter(self._lengths([part for parts in cuts for part in parts]))
        lengths = [[next(single) for _ in parts] for parts in cuts]
        pairs = iter(self._lengths([joined(parts[:2]) for parts in cuts if len(parts) > 1]))
        plans: list[list[list[int]]] = []
        for parts, alone in zip(cuts, lengths, strict=True):
            saved = alone[0] + alone[1] - next(pairs) if len(parts) > 1 else 0
            plans.append(plan(alone, saved, self.sequence_len))
        wholes = [
            joined([parts[i] for i in members])
            for parts, members_of in zip(cuts, plans, strict=True)
            for members in members_of
        ]
        sizes = iter(self._lengths(wholes))
        results: list[list[Piece]] = []
        for parts, alone, members_of in zip(cuts, lengths, plans, strict=True):
            found: list[Piece] = []
            for members in members_of:
                size = next(sizes)
                if size <= self.sequence_len:
                    found.append((joined([parts[i] for i in members]), size))
                else:
                    # A template whose pieces are longer than their parts.
                    found += [(parts[i], alone[i]) for i in members]
            results.append(found)
        return results


def _trained_runs(ids: list[int], labels: list[int]) -> list[tuple[int, int]]:
    """Where the runs of tokens with a label begin and end."""
    if len(ids) != len(labels):
        raise ValueError(f"{len(ids)} tokens, but {len(labels)} labels")
    trained = np.zeros(len(labels) + 2, np.int8)
    trained[1:-1] = np.asarray(labels, np.int64) != IGNORE
    edges = np.flatnonzero(np.diff(trained)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _has_tools(row: dict[str, Any]) -> bool:
    return any(m["role"] == "tool" or m.get("tool_calls") for m in row["messages"])


def _split(row: dict[str, Any], too_long: str, pieces: list[Piece], ledger: Ledger) -> Proven:
    """The pieces of a row under ids of their own, and the ledger's line about it."""
    if not pieces:
        ledger.dropped(_conversation(row), too_long)
        return Proven([], [])
    head = int(row["messages"][0]["role"] == "system")
    kept = head + sum(len(piece["messages"]) - head for piece, _ in pieces)
    spans = [Span(i, 0, m["content"], None) for i, m in enumerate(row["messages"])]
    spans = spans if kept < len(row["messages"]) else spans[:1]
    ledger.changed(row["id"], f"{too_long}: split at turns into {len(pieces)}", spans)
    rows = [{**piece, "id": f"{row['id']}.{n}"} for n, (piece, _) in enumerate(pieces, 1)]
    return Proven(rows, [tokens for _, tokens in pieces])


def _conversation(row: dict[str, Any]) -> Conversation:
    messages = [Message.from_dict(m) for m in row["messages"]]
    return Conversation(row["id"], row["source"], messages)


def _difference(trained: str, turn: str) -> str:
    limit = min(len(trained), len(turn))
    at = next((i for i in range(limit) if trained[i] != turn[i]), limit)
    start = max(0, at - 20)
    return f"trained {trained[start : at + 40]!r}, turn {turn[start : at + 40]!r}"
