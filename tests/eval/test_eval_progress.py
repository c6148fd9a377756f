"""Progress without a terminal: a line now and then, and none of what is soon over."""

import io

from rich.console import Console

from eval import progress


def run_through(monkeypatch, seconds_each, terminal=False):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    said = io.StringIO()
    with progress.progress_bar(Console(file=said, force_terminal=terminal, width=80)) as bar:
        bar.get_time = lambda: clock[0]
        task = bar.add_task("answers", total=1600)
        for _ in range(16):
            clock[0] += seconds_each
            bar.advance(task, 100)
    return said.getvalue()


def test_lines_come_now_and_then_with_the_time_that_is_left(monkeypatch):
    lines = run_through(monkeypatch, 7.0).splitlines()
    assert lines[0] == "answers: 300 of 1,600, 1 min 31 s left"
    assert len(lines) == 5  # of 16 batches of 7 s, one in 21 s


def test_what_is_soon_over_says_nothing(monkeypatch):
    assert run_through(monkeypatch, 1.0).strip() == ""


def test_a_terminal_has_its_bar(monkeypatch):
    shown = run_through(monkeypatch, 7.0, terminal=True)
    assert "300 of 1,600" not in shown and "1600/1600" in shown
