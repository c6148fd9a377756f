"""llama.cpp itself, in a process of its own: `python -m eval.release.llama_server FILE [LORA]`.

Prints its address and serves until its standard input ends. A file that it can't read, or a
template that it can't parse, may end the process: so it is never loaded into ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx

from eval.release.half_made import shown
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT

PACKAGE = "xllamacpp"
_CONTEXT = 4096
_SMALL = 1 << 30  # bytes
_ANSWER_WITHIN = 600.0  # seconds


class LlamaCpp:
    """A GGUF behind llama.cpp's own server, on this machine alone."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=address, timeout=_ANSWER_WITHIN)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._client.post(path, json=body).raise_for_status().json()
        return found

    def prompt_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a conversation that waits for its answer, by the file's own template."""
        prompt = self._post("/apply-template", {"messages": messages})["prompt"]
        return self.token_ids(prompt)

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a text that may hold special tokens."""
        body = {"content": text, "add_special": True, "parse_special": True}
        return [int(token) for token in self._post("/tokenize", body)["tokens"]]

    def next_tokens(self, ids: list[int], count: int) -> dict[int, float]:
        """The ``count`` likeliest next tokens after ``ids``, with their log likelihoods.

        The server keeps a token back, and its likelihoods with it, while it ends inside a
        character. So a letter is made the one that it takes; the likelihoods are those before that.
        """
        letter = self.token_ids("a")[-1]
        body = {"prompt": ids, "n_predict": 1, "n_probs": count, "cache_prompt": False,
                "logit_bias": [[letter, 1000.0]], "temperature": 0,
                "post_sampling_probs": False}  # fmt: skip
        found = self._post("/completion", body).get("completion_probabilities")
        if not found:
            raise httpx.DecodingError("it gave no likelihoods of the next token")
        likely = found[0]["top_logprobs"]
        return {int(token["id"]): float(token["logprob"]) for token in likely}

    def answer(self, messages: list[dict[str, str]], limit: int) -> tuple[str, bool]:
        """A greedy answer of at most ``limit`` tokens, and whether it stopped by itself."""
        body = {"messages": messages, "temperature": 0, "max_tokens": limit, "cache_prompt": False}
        choice = self._post("/v1/chat/completions", body)["choices"][0]
        return str(choice["message"]["content"] or ""), choice["finish_reason"] == "stop"


def installed() -> bool:
    """Whether llama.cpp is here, as a package."""
    return importlib.util.find_spec(PACKAGE) is not None


@contextlib.contextmanager
def llama_cpp(file: Path, adapter: Path | None = None) -> Iterator[LlamaCpp]:
    """llama.cpp with a file loaded, while the block runs.

    Args:
        file: the model.
        adapter: a LoRA over it, as llama.cpp's ``--lora`` takes it.

    Raises:
        UserError: it can't load the file, or parse its template.
    """
    files = [str(path.resolve()) for path in (file, adapter) if path is not None]
    command = [sys.executable, "-m", "eval.release.llama_server", *files]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address.startswith("http://127.0.0.1:"):
                process.wait()
                why = _reason(said)
                todo = "Write it in plainer Jinja and train again, or serve it (make serve)"
                todo = todo if "chat template" in why else ""
                raise UserError(f"llama.cpp can't load it: {why}", shown(file), todo)
            yield LlamaCpp(address)
        except httpx.TimeoutException:
            raise UserError(
                f"llama.cpp gave no answer in {_ANSWER_WITHIN:.0f} s; the file was not kept",
                shown(file),
                "Try again when this machine is less busy",
            ) from None
        except httpx.HTTPError as error:
            raise UserError(
                f"llama.cpp gave no answer: {error}: {_reason(said)}", shown(file)
            ) from None
        finally:
            process.kill()
            process.communicate()


def _reason(said: IO[str]) -> str:
    said.seek(0)
    lines = [line.strip() for line in said if line.strip()]
    for line in lines:
        if "chat_templates_init: error:" in line:
            return (
                f"it can't parse the chat template ({line.rpartition('error:')[2].strip()[:150]})"
            )
    errors = [line for line in lines if " E " in line or "error" in line.lower()]
    return (errors or lines or ["it said nothing"])[-1][:200]


def main() -> None:
    """Load, print the address, serve until standard input ends."""
    import os

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    if len(sys.argv) > 2:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = sys.argv[2], 1.0
        params.lora_adapters = [adapter]
    params.n_ctx, params.n_parallel, params.port = _CONTEXT, 1, 0
    # Its threads spin until the last has done its share of a layer: on a busy machine a small model
    # answers sooner on one.
    small = Path(sys.argv[1]).stat().st_size < _SMALL
    params.cpuparams.n_threads = 1 if small else os.cpu_count() or 1
    params.use_jinja, params.warmup = True, False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
