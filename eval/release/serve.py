"""`make serve`: the merged model behind an OpenAI-compatible API on this machine alone.

`transformers serve` answers, behind a gate of ours. It can't put an adapter over a base in 4 bits,
let alone a Falcon, and in 16 bits the model would not be the one that was trained and evaluated: so
the merged model is served, which is proven to be. What it learnt to end its answers with stands in
its generation_config.json, and its chat template beside it.

It is for one product in development, a few people at a time: one answer is generated after another
(no batches), a sampled answer's seed is shared with whoever asks at that time, and there is no key,
no TLS and no limit a client. For more, take vLLM (eval/release/README.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from eval.release.merge import ensure_merged
from eval.release.server import GRACE, QUEUE
from recipes.runner.core.address import HOST, free_port
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path
from recipes.runner.run.finished import Run

PORT = 8000
LOG = "serve.log"
_START_WITHIN = 900.0  # seconds; a 7B from a slow disk
_TORCH_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def serve(run: Run, port: int = PORT, queue: int = QUEUE) -> int:
    """Serve until interrupted; merge first where that was not done.

    Args:
        run: with an adapter.
        port: to listen on; 0 takes a free one.
        queue: requests that may wait or be answered at a time; one more gets HTTP status 429.

    Returns:
        The exit code: 0 when it was stopped by Ctrl-C, or politely killed.

    Raises:
        UserError: a package is missing, the port is taken, or the server does not start.
    """
    check_installed()
    port = free_port(port)
    folder = ensure_merged(run)
    address = f"http://{HOST}:{port}/v1"
    log = run.path / LOG
    print(f"Loading {display_path(folder)} ...", flush=True)
    # A request has to name the model as it was named here: the run's name, not a path.
    with tempfile.TemporaryDirectory() as names, log.open("w", encoding="utf-8") as output:
        (Path(names) / run.name).symlink_to(folder.resolve())
        process = subprocess.Popen(
            command(run, port, queue), cwd=names, env=_environment(), stdout=output, stderr=output
        )
        try:
            _wait(process, address, log)
            print(
                f'Serving {address} (model "{run.name}"), on this machine alone. Ctrl-C stops it.'
                f"  Log: {display_path(log)}",
                flush=True,
            )
            process.wait()
            raise UserError(
                f"the server ended by itself (exit code {process.returncode})",
                display_path(log),
                _last_line(log),
            )
        except KeyboardInterrupt:
            return 0
        finally:
            process.terminate()
            try:
                process.wait(timeout=GRACE + 10)
            except subprocess.TimeoutExpired:
                process.kill()


def command(run: Run, port: int, queue: int = QUEUE) -> list[str]:
    """The command line of the server, to be run where the run's name leads to the model."""
    import torch

    from eval.generation.base_model import pick_dtype

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    return [
        sys.executable, "-P", "-m", "eval.release.server", run.name,
        "--port", str(port), "--queue", str(queue), "--device", device,
        "--dtype", _TORCH_NAMES[pick_dtype(run.config, device)],
        # As in evaluation: on a CPU plain attention is quicker for one new token.
        "--attention", "eager" if device == "cpu" else "sdpa",
    ]  # fmt: skip


def check_installed() -> None:
    """Make sure that `transformers serve` has what it needs.

    Raises:
        UserError: a package of the extra is missing.
    """
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        raise UserError(
            "packages that the server needs are missing", todo="Run: make setup EXTRAS=serve"
        )


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",  # a request can't make it fetch another model
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Until it answers."""
    deadline = time.monotonic() + _START_WITHIN
    health = address.removesuffix("/v1") + "/health"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UserError(
                f"the server did not start (exit code {process.returncode})",
                display_path(log),
                _last_line(log),
            )
        try:
            if httpx.get(health, timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise UserError(f"the server did not answer in {_START_WITHIN:.0f} s", display_path(log))


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "It said nothing")
