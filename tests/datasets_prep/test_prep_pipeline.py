"""The whole way: what is written, when nothing is done, and that bad input leaves data intact."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prep_data import ROOT, TOPICS, all_rows, definition, jsonl, questions, read, rows_of

import datasets_prep
from datasets_prep.__main__ import main
from datasets_prep.definition import DEFINITIONS
from datasets_prep.pipeline import OUTPUTS
from datasets_prep.workspace import work_folder
from recipes.runner.core.errors import UserError

FILES = (*OUTPUTS, "manifest.json", "steps")


def prepare(folder: Path, **keys: Any) -> Path:
    return datasets_prep.prepare(folder / "small.yaml", out=folder / "out", workers=1, **keys)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def command(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "datasets_prep", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        check=False,
    )


def small(folder: Path, rows: list[dict[str, Any]] | None = None, **keys: Any) -> Path:
    jsonl(folder / "rows.jsonl", questions(60) if rows is None else rows)
    definition(folder, **{"columns": {"prompt": "q", "response": "a", "topic": "topic"}, **keys})
    return folder


def test_it_writes_every_file_and_loses_no_row(tmp_path: Path) -> None:
    rows = questions(60)
    rows[7]["a"] = rows[3]["a"]
    rows[11]["a"] = "No."
    out = prepare(small(tmp_path, rows, steps={"filter": {"min_answer_words": 2}}))
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    splits = rows_of(out)
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 46,
        "validation": 6,
        "test": 6,
    }
    for row in all_rows(out):
        assert list(row) == ["id", "source", "messages"]
        assert [list(m) for m in row["messages"]] == [["role", "content"]] * 2
        assert row["source"] == f"rows.jsonl#{int(row['id'].split('-')[1])}"
    dropped = {
        line["id"]: (line["step"], line["reason"])
        for line in read(out / "ledger.jsonl")
        if line["action"] == "dropped"
    }
    assert dropped == {
        "small-000008": ("dedupe", "same answer as small-000004"),
        "small-000012": ("filter", "assistant turn of 1 words"),
    }
    assert sorted([*dropped, *(row["id"] for row in all_rows(out))]) == [
        f"small-{n:06d}" for n in range(1, 61)
    ]


def test_the_same_inputs_give_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    small(tmp_path, questions(600))
    first = snapshot(prepare(tmp_path))
    for workers in (1, 2):
        again = datasets_prep.prepare(
            tmp_path / "small.yaml", out=tmp_path / f"out{workers}", workers=workers
        )
        assert snapshot(again) == first


def test_nothing_is_done_when_nothing_changed(tmp_path: Path) -> None:
    out = prepare(small(tmp_path))
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    prepare(tmp_path)
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == before


def test_the_no_op_imports_nothing_heavy(tmp_path: Path) -> None:
    out = prepare(small(tmp_path))
    code = (
        "import sys, datasets_prep\n"
        f"datasets_prep.prepare({str(tmp_path / 'small.yaml')!r}, out={str(out)!r})\n"
        "heavy = {'torch', 'transformers', 'axolotl', 'datasets', 'numpy', 'spacy', 'ftfy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("change", ["source", "definition", "output", "missing", "force"])
def test_a_change_makes_the_data_again(tmp_path: Path, change: str) -> None:
    out = prepare(small(tmp_path))
    before = (out / "manifest.json").stat().st_mtime_ns
    if change == "source":
        jsonl(tmp_path / "rows.jsonl", questions(61))
    elif change == "definition":
        small(tmp_path, split={"seed": 1})
    elif change == "output":
        (out / "test.jsonl").write_text("{}\n")
    elif change == "missing":
        (out / "ledger.jsonl").unlink()
    prepare(tmp_path, force=change == "force")
    assert (out / "manifest.json").stat().st_mtime_ns != before
    assert len(all_rows(out)) == 60 + (change == "source")


def test_stratified_by_the_topic_column(tmp_path: Path) -> None:
    out = prepare(small(tmp_path, questions(200), split={"validation": 0.2, "test": 0.1}))
    for rows, count in zip(rows_of(out).values(), (28, 8, 4), strict=True):
        topics = [TOPICS[(int(row["id"].split("-")[1]) - 1) % 5] for row in rows]
        assert all(abs(topics.count(topic) - count) <= 1 for topic in TOPICS)


def test_steps_are_switchable(tmp_path: Path) -> None:
    rows = questions(30)
    rows[1]["a"] = rows[0]["a"] = "ok<b>ay</b>  a@b.org"
    steps = dict.fromkeys(("clean", "anonymise", "filter", "dedupe", "prove"), False)
    out = prepare(small(tmp_path, rows, steps=steps))
    texts = [m["content"] for row in all_rows(out) for m in row["messages"]]
    assert len(all_rows(out)) == 30 and texts.count("ok<b>ay</b>  a@b.org") == 2
    assert read(out / "ledger.jsonl") == []


def test_source_and_out_on_the_command_line(tmp_path: Path) -> None:
    small(tmp_path)
    other = tmp_path / "other.csv"
    lines = [f'"{r["q"]}","{r["a"]}",x' for r in questions(20)]
    other.write_text("\n".join(["q,a,topic", *lines]))
    done = command(tmp_path / "small.yaml", "--source", other, "--out", tmp_path / "there")
    assert done.returncode == 0, done.stderr
    assert "20 rows read, 20 kept, 0 dropped" in done.stdout
    assert str(tmp_path / "there" / "card.html") in done.stdout
    again = command(tmp_path / "small.yaml", "--source", other, "--out", tmp_path / "there")
    assert "nothing changed" in again.stdout


def break_input(case: str, folder: Path) -> list[str | Path]:
    """Spoil a source or definition; returns the arguments of the command."""
    rows = folder / "rows.jsonl"
    keys: dict[str, Any] = {}
    extra: list[str | Path] = []
    if case == "column":
        keys = {"columns": {"prompt": "question", "response": "a"}}
    elif case == "json":
        rows.write_text(rows.read_text() + '{"q": "broken\n')
    elif case == "encoding":
        rows.write_bytes(rows.read_bytes() + b'{"q": "caf\xe9", "a": "b"}\n')
    elif case == "empty":
        rows.write_text("")
    elif case == "blank":
        rows.write_text("\n\n")
    elif case == "unusable":
        jsonl(rows, [{"q": "Why is it so?", "a": "No."}] * 3)
        keys = {"steps": {"filter": {"min_answer_words": 2}}}
    elif case == "step":
        keys = {"steps": {"deduplicate": {}}}
    elif case == "key":
        keys = {"sorce": {"file": "rows.jsonl"}}
    elif case == "hub":
        keys = {"source": {"hub": "nobody-here/no-such-data"}}
    elif case == "role":
        jsonl(rows, [{"conversations": [{"from": "narrator", "value": "x"}]}])
        keys = {"shape": "sharegpt", "columns": {}}
    elif case == "duplicate id":
        jsonl(rows, [{"q": "Why is it?", "a": f"Because of {n}", "id": 1} for n in range(2)])
        keys = {"columns": {"prompt": "q", "response": "a", "id": "id"}}
    elif case == "recipe":
        extra = ["--recipe", "falcon7b-qlorra"]
    elif case == "json encoding":
        (folder / "rows.json").write_bytes('[\n{"q": "caf\u00e9"}]'.encode("latin-1"))
        extra = ["--source", folder / "rows.json"]
    elif case == "quotation mark":
        (folder / "rows.csv").write_text('q,a,topic\none,two,x\n"three,four,x\nfive,six,x\n')
        extra = ["--source", folder / "rows.csv"]
    elif case == "counts":
        keys = {"split": {"validation": 40, "test": 20}}
    elif case == "region":
        keys = {"steps": {"anonymise": {"phone_regions": ["UK"]}}}
    elif case == "out":
        extra = ["--out", rows / "there"]
    elif case == "source":
        extra = ["--source", folder / "nothing.csv"]
    definition(folder, **keys)
    return [folder / "small.yaml", "--out", folder / "out", *extra]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("column", "rows.jsonl: missing column 'question'"),
        ("json", "rows.jsonl:61: broken JSON line"),
        ("encoding", "rows.jsonl:61: is not utf-8"),
        ("empty", "rows.jsonl: the file is empty"),
        ("blank", "rows.jsonl: holds no rows"),
        ("unusable", "no usable row among 3; most often: filter: assistant turn of ... words"),
        ("step", "Did you mean dedupe?"),
        ("key", "Did you mean source?"),
        ("hub", "nobody-here/no-such-data: cannot be read from the Hugging Face Hub"),
        ("role", "unknown role 'narrator'"),
        ("duplicate id", "id 'small-1' occurs twice"),
        ("recipe", "falcon7b-qlora"),
        ("source", "nothing.csv: no such file"),
        ("json encoding", "rows.json:2: is not utf-8: byte 0xe9"),
        ("quotation mark", "rows.csv:4: broken CSV: unexpected end of data"),
        ("counts", "split: validation and test ask for 60 rows, and only 60 were kept"),
        ("region", "anonymise.phone_regions: unknown region 'UK'"),
        ("out", "rows.jsonl: file exists. Check the disk"),
    ],
)
def test_bad_input_is_one_line_and_the_data_stay(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
    message: str,
) -> None:
    out = prepare(small(tmp_path))
    before = snapshot(out)
    arguments = [str(argument) for argument in break_input(case, tmp_path)]
    capsys.readouterr()
    if case == "hub":
        # In a process of its own, as it is the network's libraries that would say more.
        done = command(*arguments)
        code, text = done.returncode, done.stderr
    else:
        monkeypatch.setattr("sys.argv", ["datasets_prep", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        code, text = stopped.value.code, capsys.readouterr().err
    lines = [line for line in text.splitlines() if line]
    assert code == 1
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], lines
    assert snapshot(out) == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_an_interrupted_run_leaves_the_data_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = prepare(small(tmp_path))
    before = snapshot(out)
    jsonl(tmp_path / "rows.jsonl", questions(70))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("datasets_prep.build.write_cards", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path)
    assert snapshot(out) == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def running_with_two_workers(folder: Path) -> subprocess.Popen[str]:
    """A run in the middle of its work."""
    arguments = [sys.executable, "-m", "datasets_prep", folder / "small.yaml"]
    running = subprocess.Popen(
        [*arguments, "--out", folder / "out", "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    while not any(rows.stat().st_size for rows in folder.glob(".out.*/rows")):
        assert running.poll() is None
        time.sleep(0.05)
    return running


def test_a_killed_run_leaves_the_data_no_workers_and_its_litter_goes_with_the_next(
    tmp_path: Path,
) -> None:
    out = prepare(small(tmp_path))
    before = snapshot(out)
    jsonl(tmp_path / "rows.jsonl", questions(20_000))
    running = running_with_two_workers(tmp_path)
    workers = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    assert len(workers) == 2
    running.kill()
    running.communicate()
    assert snapshot(out) == before
    ends = time.monotonic() + 300
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < ends, "a worker outlives its parent"
        time.sleep(0.05)
    assert list(tmp_path.glob(".out.*"))
    jsonl(tmp_path / "rows.jsonl", questions(61))
    with work_folder(out) as other:
        prepare(tmp_path)
        assert list(tmp_path.glob(".out.*")) == [other], "a live run's folder stays"
    assert len(all_rows(out)) == 61


def test_ctrl_c_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    small(tmp_path, questions(20_000))
    running = running_with_two_workers(tmp_path)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=600)
    assert running.returncode == 130
    assert errors.splitlines()[-1] == "stopped: the data are as they were"
    assert "Traceback" not in errors
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl", "small.yaml"]


def test_token_limits_need_a_tokenizer(tmp_path: Path) -> None:
    small(tmp_path, steps={"filter": {"max_tokens": 9}})
    with pytest.raises(UserError, match="need a tokenizer"):
        prepare(tmp_path)


OWN = DEFINITIONS / "mental_health_support.jsonl"


def test_our_own_data_pass_untouched(tmp_path: Path) -> None:
    out = datasets_prep.prepare("mental_health_support", out=tmp_path / "own", workers=1)
    assert read(out / "ledger.jsonl") == []
    source = {row["id"]: row for row in read(OWN)}
    made = all_rows(out)
    assert len(made) == len(source)
    for row in made:
        assert (
            row["messages"] == source[row["id"].removeprefix("mental_health_support-")]["messages"]
        )
    sizes = [len(rows) for rows in rows_of(out).values()]
    assert sizes == pytest.approx([0.86 * len(made), 0.08 * len(made), 0.06 * len(made)], abs=2)
    card = (out / "card.md").read_text()
    for words in ("Synthetic", "No clinician has reviewed", "Apache-2.0"):
        assert words in card


def test_our_own_data_are_what_they_should_be() -> None:
    rows = read(OWN)
    turns = [sum(m["role"] == "user" for m in row["messages"]) for row in rows]
    topics = {row["topic"] for row in rows}
    multi = sum(n > 1 for n in turns)
    assert len(rows) >= 700 and len(topics) >= 40
    assert 250 <= multi <= 0.42 * len(rows) and max(turns) <= 6
    openings = [row["messages"][0]["content"][:12] for row in rows]
    assert len(set(openings)) >= 0.85 * len(rows)
