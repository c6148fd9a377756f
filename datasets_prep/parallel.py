"""A function over batches on all cores, in order, with a bounded number in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice

from datasets_prep import worker
from datasets_prep.definition import Definition
from recipes.runner.core.errors import UserError

BATCH = 500


def _start_worker(definition: Definition, source_name: str, done: str, keep: bool) -> None:
    # Ctrl-C is for the parent alone, which ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that was killed ends nobody: its workers would wait for it for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker.start(definition, source_name, done, keep)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def batches(units: Iterable[worker.Unit]) -> Iterator[list[worker.Unit]]:
    """Cut a stream into lists of `BATCH` rows."""
    stream = iter(units)
    while batch := list(islice(stream, BATCH)):
        yield batch


def run_batches(
    definition: Definition,
    source_name: str,
    stream: Iterator[worker.Batch],
    workers: int | None,
    done: str = "",
    keep: bool = False,
) -> Iterator[worker.RowBatch]:
    """Run the row-wise steps; yields batches in the order of the source.

    Small inputs run in this process. No more than two batches a worker are in flight, so that
    memory does not grow with the source.

    Args:
        definition: the source's own.
        source_name: for messages.
        stream: `batches` of rows, or what an earlier run kept.
        workers: processes; None for one a core.
        done: the stage that left what an earlier run kept.
        keep: whether the batches hold what each stage leaves.
    """
    workers = workers or os.cpu_count() or 1
    head = list(islice(stream, 2))
    # Here too: a fault in the settings is an error of this process, not a broken pool.
    worker.start(definition, source_name, done, keep)
    if workers == 1 or len(head) < 2:
        yield from map(worker.run, chain(head, stream))
        return
    with ProcessPoolExecutor(
        workers, initializer=_start_worker, initargs=(definition, source_name, done, keep)
    ) as pool:
        waiting: deque[Future[worker.RowBatch]] = deque()
        try:
            for batch in chain(head, stream):
                waiting.append(pool.submit(worker.run, batch))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a worker was killed, most likely by the system when out of memory",
                source_name,
                "Give --workers fewer",
            ) from None
        finally:
            for future in waiting:
                future.cancel()
