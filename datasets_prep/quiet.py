"""Axolotl and what it imports, without their noise on the terminal."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(*, bars: bool = False) -> Iterator[None]:
    """Silence logs, warnings and, without ``bars``, progress bars of libraries; errors still raise.

    Telemetry is switched off for the whole process: Axolotl reads the switch at import.
    """
    os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import datasets

            shown = not datasets.are_progress_bars_disabled()
            if not bars:
                datasets.disable_progress_bars()
            try:
                yield
            finally:
                if shown:
                    datasets.enable_progress_bars()
    finally:
        logging.disable(before)
