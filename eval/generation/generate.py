"""Batched generation with a local model: one answer for each conversation of a batch."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from transformers import StoppingCriteriaList

from eval.answers import Answer, Messages
from eval.generation.decoding import Decoding
from eval.generation.loop_stop import LEAST_TO_THIN, HalfDone, LoopStop, can_thin_out
from recipes.runner.core.fallbacks import note_fallback


def end_tokens(model: Any, tokenizer: Any, extra: list[str] | None = None) -> list[int]:
    """Ids that end an answer: the tokenizer's, the model's own, and a recipe's ``eot_tokens``."""
    ids = {tokenizer.eos_token_id}
    own = model.generation_config.eos_token_id
    ids |= set(own) if isinstance(own, list) else {own}
    ids |= {tokenizer.convert_tokens_to_ids(token) for token in extra or []}
    return sorted(i for i in ids if i is not None and i != tokenizer.unk_token_id)


def prompt_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """Token ids of a conversation that waits for its next answer."""
    return list(
        tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=False
        )
    )


def generate(
    model: Any,
    tokenizer: Any,
    batch: list[Messages],
    decoding: Decoding,
    ends: list[int],
    seed: str,
) -> list[Answer]:
    """Answer every conversation of the batch; out of memory, halve the batch and go on.

    Args:
        model: a causal language model in eval mode.
        tokenizer: with a chat template and a padding token.
        batch: conversations that end in a user turn.
        decoding: greedy or sampled, and the limit.
        ends: ids that end an answer.
        seed: names this batch; the random seed is derived from it and ``decoding.seed``.

    Raises:
        torch.OutOfMemoryError: when a single conversation does not fit.
    """
    try:
        return _generate(model, tokenizer, batch, decoding, ends, seed)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error) or len(batch) == 1:
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(batch) // 2
    note_fallback("eval.generate", f"batches of {half}", f"{len(batch)} did not fit in memory")
    return [
        answer
        for part, name in ((batch[:half], "a"), (batch[half:], "b"))
        for answer in generate(model, tokenizer, part, decoding, ends, seed + name)
    ]


def derived_seed(seed: int, name: str) -> int:
    """The random seed of one batch or answer: below 2**48, the same for both arms."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out (the CPU's has no type)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


@torch.inference_mode()
def _generate(
    model: Any,
    tokenizer: Any,
    batch: list[Messages],
    decoding: Decoding,
    ends: list[int],
    seed: str,
) -> list[Answer]:
    rows = [prompt_ids(tokenizer, messages) for messages in batch]
    width = max(map(len, rows))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device
    )
    sampling: dict[str, Any] = {
        "do_sample": False,
        "temperature": None,
        "top_p": None,
        "top_k": None,
    }
    if not decoding.greedy:
        torch.manual_seed(derived_seed(decoding.seed, seed))
        sampling = {
            "do_sample": True,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": 0,
        }
    settings = sampling | {
        "eos_token_id": ends,
        "pad_token_id": pad,
        "repetition_penalty": 1.0,
    }
    rows_out = _write(model, tokenizer, ids, mask, decoding.max_new_tokens, ends, settings)
    return [_read(tokenizer, row, ends) for row in rows_out]


def _write(
    model: Any,
    tokenizer: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    limit: int,
    ends: list[int],
    settings: dict[str, Any],
) -> list[list[int]]:
    """New tokens of each row, shape of ``ids`` and ``mask``: (rows, width).

    On a CPU every row costs, also one that is over. So there the batch halts when half of its rows
    are, and the rest goes on without them from the same keys and values.
    """
    width, thins = ids.shape[1], can_thin_out(model)
    alive, written, cache = list(range(len(ids))), {}, None
    while True:
        loop_stop = LoopStop(tokenizer, width, ends)
        criteria = StoppingCriteriaList([loop_stop])
        extra: dict[str, Any] = {}
        if thins and len(alive) >= LEAST_TO_THIN:
            criteria.append(HalfDone(loop_stop))
            extra = {"return_dict_in_generate": True}
            if cache is not None:
                extra["past_key_values"] = cache
        elif cache is not None:
            extra = {"past_key_values": cache, "return_dict_in_generate": True}
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=limit - (ids.shape[1] - width),
            stopping_criteria=criteria,
            **settings,
            **extra,
        )
        sequences = output.sequences if extra else output
        for place, row in enumerate(alive):
            written[row] = sequences[place, width : loop_stop.ended_at.get(place)].tolist()
        going = [
            place
            for place, row in enumerate(alive)
            if place not in loop_stop.ended_at
            and not set(ends).intersection(written[row])
            and len(written[row]) < limit
        ]
        if not going or not extra:
            return [written[row] for row in range(len(written))]
        cache = output.past_key_values
        cache.batch_select_indices(torch.tensor(going, device=ids.device))
        alive = [alive[place] for place in going]
        ids = sequences[going]
        grown = mask.new_ones((len(mask), ids.shape[1] - mask.shape[1]))
        mask = torch.cat([mask, grown], dim=1)[going]


def _read(tokenizer: Any, ids: list[int], ends: list[int]) -> Answer:
    """Cut at the first end token, and note special tokens that stand before it."""
    end = next((i for i, token in enumerate(ids) if token in ends), None)
    body = ids if end is None else ids[:end]
    special = set(tokenizer.all_special_ids)
    leaked = tuple(tokenizer.convert_ids_to_tokens([t for t in body if t in special]))
    text = tokenizer.decode(body, skip_special_tokens=True).strip()
    return Answer(text, end is not None, len(body) + (end is not None), leaked)
