"""`make clean`: caches go; runs, data and models only when a person says so."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "data/prepared")
_MADE = ("runs", "data", "models")


def main() -> int:
    """Remove caches, then ask about each folder of results."""
    for name in _CACHES:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for folder in ("recipes", "datasets_prep", "plugins", "eval", "tests"):
        for cache in (ROOT / folder).rglob("__pycache__"):
            shutil.rmtree(cache, ignore_errors=True)
    print("caches removed")
    for name in _MADE:
        path = ROOT / name
        if path.is_dir() and any(path.iterdir()) and _agreed(path):
            shutil.rmtree(path)
            print(f"{name}/ removed")
    return 0


def _agreed(path: Path) -> bool:
    if not sys.stdin.isatty():
        print(f"{path.name}/ kept: it holds results, and nobody is here to ask")
        return False
    names = ", ".join(sorted(child.name for child in path.iterdir())[:8])
    return input(f"Remove {path.name}/ too ({names})? [y/N] ").strip().lower() == "y"


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has enough ends it
    raise SystemExit(main())
