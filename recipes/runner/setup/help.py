"""`make help`: the targets of the Makefile with what they take."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

_TARGET = re.compile(r"^([a-z-]+):.*?## (.+)$")


def help_lines(makefile: str) -> list[str]:
    """One line a documented target, in the Makefile's order."""
    found = [_TARGET.match(line) for line in makefile.splitlines()]
    return [f"  make {match[1]:<12} {match[2]}" for match in found if match]


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has enough ends it
    print("Fine-tuning recipes for Axolotl. Start: make train RECIPE=smollm2-135m-qlora\n")
    print("\n".join(help_lines(Path(sys.argv[1]).read_text(encoding="utf-8"))))
