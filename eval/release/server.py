"""`transformers serve` behind a gate: `python -m eval.release.server MODEL --port N ...`.

A process of its own. The parts are those that transformers' command puts together; what it lacks
stands in `eval.release.gate`.
"""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any

from eval.release.gate import Gate
from eval.release.request import CHAT, Refused
from recipes.runner.core.address import HOST

QUEUE = 64
"""Requests that wait or are answered at a time, where nothing is said."""
GRACE = 10
"""Seconds that answers under way have to end in, once the server is told to stop."""


def build_parser() -> argparse.ArgumentParser:
    """The command line; ``model`` is a folder by its name, in the working directory."""
    parser = argparse.ArgumentParser(prog="python -m eval.release.server", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--queue", type=int, default=QUEUE)
    parser.add_argument("--grace", type=int, default=GRACE)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Load the model, then serve until SIGINT or SIGTERM."""
    import uvicorn

    args = build_parser().parse_args(argv)
    # uvicorn puts its own handlers over these, ends what is under way, and raises the signal again.
    # The thread that generates can't be stopped in the middle of a token, and holds nothing.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    gate = gate_for(args.model, args.device, args.dtype, args.attention, args.queue)
    # Its own output is a log; requests are logged without their content.
    uvicorn.run(gate, host=HOST, port=args.port, timeout_graceful_shutdown=args.grace)


def gate_for(model: str, device: str, dtype: str, attention: str, queue: int) -> Gate:
    """The gate before transformers' application, with the model loaded."""
    from transformers import AutoConfig
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.completion import CompletionHandler
    from transformers.cli.serving.model_manager import ModelManager
    from transformers.cli.serving.response import ResponseHandler
    from transformers.cli.serving.server import build_server
    from transformers.cli.serving.transcription import TranscriptionHandler
    from transformers.cli.serving.utils import BaseHandler, GenerationState, Modality

    manager = ModelManager(
        device=device, dtype=dtype, attn_implementation=attention, force_model=model
    )
    state = GenerationState()
    chat = ChatCompletionHandler(manager, state)
    app: Any = build_server(
        manager,
        chat,
        completion_handler=CompletionHandler(manager, state),
        response_handler=ResponseHandler(manager, state),
        transcription_handler=TranscriptionHandler(manager, state),
        generation_state=state,
    )
    tokenizer: Any = manager.load_model_and_processor(manager.process_model_name(model))[1]

    config = AutoConfig.from_pretrained(model)
    tokens_known = int(config.vocab_size)

    def count_tokens(path: str, body: dict[str, Any]) -> int:
        if path != CHAT:
            if not isinstance(body["prompt"], str):
                raise TypeError("a prompt is one text here")
            return len(tokenizer(body["prompt"])["input_ids"])
        if any(int(token) >= tokens_known for token in body.get("logit_bias") or {}):
            raise Refused(
                f"logit_bias names a token past the last one, {tokens_known - 1}",
                param="logit_bias",
            )
        if body.get("tools") and "tools" not in str(tokenizer.chat_template):
            raise Refused(
                "this model's chat template has no place for tools", param="tools",
                code="unsupported_parameter",
            )  # fmt: skip
        messages = BaseHandler.get_processor_inputs_from_messages(body["messages"], Modality.LLM)
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tools=body.get("tools"), return_dict=True
        )
        return len(ids["input_ids"])

    context = int(getattr(config, "max_position_embeddings", 0) or 2048)
    return Gate(app, count_tokens, model, context, queue)


if __name__ == "__main__":
    main()
