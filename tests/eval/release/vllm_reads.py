"""What vLLM's own parser makes of serving commands, for test_release_vllm.py; run by vLLM's python.

    python vllm_reads.py < commands.json > read.json

Each command is a list of words after ``vllm``; nothing is loaded but the model's config.json.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any


def read(words: list[str], parser: Any) -> dict[str, Any]:
    """The engine's configuration of one command, or what vLLM says against it."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import validate_parsed_serve_args
    from vllm.model_executor.models import ModelRegistry, supports_lora

    try:
        args = parser.parse_args(words)
        args.model = args.model_tag
        validate_parsed_serve_args(args)
        engine = AsyncEngineArgs.from_cli_args(args).create_engine_config()
        model = engine.model_config
        kind, _ = ModelRegistry.resolve_model_cls(model.architectures, model)
    except (SystemExit, Exception) as error:  # its parser exits, its checks raise what they like
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "class": kind.__name__,
        "takes_lora": supports_lora(kind),
        "max_model_len": model.max_model_len,
        "max_lora_rank": engine.lora_config.max_lora_rank if engine.lora_config else None,
    }


def main() -> None:
    """Read the commands, write what became of each."""
    with contextlib.redirect_stdout(sys.stderr):
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        commands = json.load(sys.stdin)
        found = [read(words, make_arg_parser(FlexibleArgumentParser())) for words in commands]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
