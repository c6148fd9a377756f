"""The command line on a real (tiny) model: verdicts, files, exit codes, votes, comparison."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import ChatServer

from eval import compare
from eval.__main__ import main

VOTE = {"suite": "known", "id": "q1", "sample": 0, "left": "base", "winner": "tie"}


@pytest.fixture(scope="module")
def evaluated(worse_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The worse run, evaluated once; its folder and the exit code."""
    known = tmp_path_factory.mktemp("suite") / "known.yaml"
    known.write_text(_suite_text())
    folder = tmp_path_factory.mktemp("evaluated") / "worse"
    shutil.copytree(worse_run, folder)
    record = json.loads((folder / "run.json").read_text())
    record["config"]["datasets"][0]["path"] = str(folder / "data" / "train.jsonl")
    (folder / "run.json").write_text(json.dumps(record))
    code = main(["--run", str(folder), "--suites", str(known), "--dtype", "fp32"])
    return folder, code


def _suite_text() -> str:
    from tiny_chat import KEYWORDS, KNOWN

    prompts = "".join(
        f"  - {{id: q{i}, tags: [t{i % 2}], turns: ['{q}'], "
        f"checks: [{{check: any_of, phrases: [{word}]}}]}}\n"
        for i, (q, word) in enumerate(zip(KNOWN, KEYWORDS, strict=True))
    )
    return (
        "name: known\ntitle: What it knows\nabout: Facts.\nmax_new_tokens: 12\n"
        "primary: {metric: passed, margin: 0.15}\ngates: [{gate: non_inferiority}]\n"
        f"prompts:\n{prompts}"
    )


def test_one_trained_to_be_worse_is_said_to_be_worse(evaluated: tuple[Path, int]) -> None:
    folder, code = evaluated
    assert code == 3
    summary = json.loads((folder / "eval" / "summary.json").read_text())
    verdicts = {row["name"]: row["verdict"] for row in summary["suites"]}
    assert verdicts == {"held_out": "worse", "known": "worse"}
    assert summary["gates_hold"] is False
    known = next(row for row in summary["suites"] if row["name"] == "known")
    assert known["compared"]["base"] == 1.0 and known["compared"]["tuned"] == 0.0
    assert known["compared"]["p"] == pytest.approx(2 / 2**12)
    held_out = summary["suites"][0]
    assert held_out["perplexity"]["base"] < held_out["perplexity"]["tuned"]


def test_every_prompt_stands_in_the_results_with_both_answers(evaluated: tuple[Path, int]) -> None:
    lines = (evaluated[0] / "eval" / "results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    known = [row for row in rows if row["suite"] == "known"]
    assert len(known) == 12 and len(rows) == 24
    first = known[0]
    assert first["base"]["answers"][0]["text"] == "Paris it is."
    assert first["tuned"]["answers"][0]["text"] != "Paris it is."
    assert first["outcome"] == "worse" and first["settings"]["max_new_tokens"] == 12


def test_again_it_gives_the_same_and_generates_nothing(
    evaluated: tuple[Path, int], known_suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = evaluated
    before = (folder / "eval" / "results.jsonl").read_text()

    def fail(*_: object) -> None:
        raise AssertionError("an answer was generated again")

    monkeypatch.setattr("eval.generation.arms.generate", fail)
    assert main(["--run", str(folder), "--suites", str(known_suite), "--dtype", "fp32"]) == 3
    assert (folder / "eval" / "results.jsonl").read_text() == before


def test_the_decision_is_said_first_and_last(
    make_run: Callable[..., Path], known_suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("other")
    known_suite.write_text(known_suite.read_text().replace("margin: 0.15", "margin: 0.9"))
    code = main(["--run", str(run), "--suites", str(known_suite), "--dtype", "fp32"])
    out = capsys.readouterr().out
    summary = json.loads((run / "eval" / "summary.json").read_text())
    decision = summary["decision"]
    assert (
        code
        == decision["exit_code"]
        == {"ship": 0, "don't ship": 3, "can't tell": 4}[decision["kind"]]
    ), out
    assert out.index(decision["sentence"]) < out.index("tuned against base")
    assert "gate holds" in out and "report.html" in out
    assert "held_out is nats per token, lower is better" in out
    assert out.strip().endswith(f"{decision['kind']} (the one gate holds): exit code {code}")
    assert set(summary["decided_by"]["suites"]) == {"known"} and summary["decided_by"]["code"]


def test_another_run_stands_in_base_s_place(
    evaluated: tuple[Path, int], known_suite: Path, make_run: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """As SFT against DPO: its answers are those of its own evaluation, and aren't asked again."""
    first, run = evaluated[0], make_run("other")
    kept = {path: path.read_bytes() for path in (first / "eval" / "cache").iterdir()}
    given = ["--run", str(run), "--suites", str(known_suite), "--dtype", "fp32"]
    assert main([*given, "--against", str(first)]) == 0  # it unlearned less
    assert {path: path.read_bytes() for path in (first / "eval" / "cache").iterdir()} == kept
    folder = run / "eval" / "against-worse"
    rows, before = (_results(path) for path in (folder, first / "eval"))
    assert [row["base"] for row in rows] == [row["tuned"] for row in before]
    out, page = capsys.readouterr().out, (folder / "report.html").read_text()
    assert "base below is worse" in out and "other against worse" in out
    assert '<h1 dir="auto">other against worse</h1>' in page and "<h4>Worse</h4>" in page
    assert not (run / "eval" / "summary.json").exists()  # what it is worth against the base
    card = (run / "README.md").read_text()
    assert "### Against `worse`" in card and "**Not evaluated against its base.**" in card
    assert json.loads((folder / "summary.json").read_text())["decision"]["sentence"] in card
    assert "another then than the files" not in card
    main(given)
    own = _results(run / "eval")
    assert [row["tuned"] for row in own] == [row["tuned"] for row in rows]
    assert [row["base"] for row in own] == [row["base"] for row in before]


def _results(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_samples(make_run: Callable[..., Path], known_suite: Path) -> None:
    run = make_run("other")
    main(["--run", str(run), "--suites", str(known_suite), "--samples", "2", "--limit", "3"])
    lines = (run / "eval" / "results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if json.loads(line)["suite"] == "known"]
    assert [(row["id"], row["sample"]) for row in rows[:3]] == [("q0", 0), ("q0", 1), ("q4", 0)]
    summary = json.loads((run / "eval" / "summary.json").read_text())
    assert summary["suites"][1]["compared"]["n"] == 3  # conversations, not samples
    assert summary["suites"][1]["verdict"] == "inconclusive"
    assert "3 prompts are too few" in summary["gates"][0]["why"]
    assert summary["settings"]["decoding"]["known"]["temperature"] == 0.7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", "nowhere"], "there is no such run"),
        (["--recipe", "falcon7b-qlroa"], "falcon7b-qlora"),
        (["--run", "{run}", "--suites", "saftey"], "Did you mean safety?"),
        (["--run", "{run}", "--judge", "http://127.0.0.1:9"], "--judge-model"),
        (["--run", "{run}", "--tuned-endpoint", "http://127.0.0.1:9"], "all four"),
        (["--run", "{run}", "--against", "nowhere"], "there is no such run"),
        (["--run", "{run}", "--against", "{run}"], "is the run that is evaluated"),
        (["--run", "{run}", "--votes", "none.json"], "there is no such file"),
        (["--run", "{run}", "--limit", "0"], "--limit: must be 1 or more"),
        (["--run", "{run}", "--limt", "3"], "--limt"),
        (["--run", "{run}", "--suites", "{judged}"], "is decided by judge.overall. Give --judge"),
        ([], "--run --recipe"),
    ],
)
def test_mistakes_are_one_line_and_exit_1(
    arguments: list[str],
    words: str,
    evaluated: tuple[Path, int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    judged = tmp_path / "judged.yaml"
    text = _suite_text().replace("metric: passed", "metric: judge.overall")
    judged.write_text(text.replace("gates:", "rubric: [boundaries]\ngates:"))
    given = [
        argument.replace("{run}", str(evaluated[0])).replace("{judged}", str(judged))
        for argument in arguments
    ]
    with pytest.raises(SystemExit) as caught:
        main(given)
    assert caught.value.code == 1
    err = capsys.readouterr().err.strip()
    assert err.startswith("error: ") and words in err and "\n" not in err


def test_missing_held_out_data(
    worse_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(worse_run, folder)
    record = json.loads((folder / "run.json").read_text())
    record["config"]["datasets"][0]["path"] = str(tmp_path / "gone" / "train.jsonl")
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit):
        main(["--run", str(folder)])
    assert "make data DATASET=gone" in capsys.readouterr().err


def test_votes_are_read_back(
    evaluated: tuple[Path, int], known_suite: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, _ = evaluated
    report = json.loads((folder / "eval" / "summary.json").read_text())["report_id"]
    votes = [
        {"suite": "known", "id": f"q{i}", "sample": 0, "left": "base" if i % 2 else "tuned",
         "winner": "tuned" if i == 0 else "tie" if i == 1 else "base"}
        for i in range(12)
    ]  # fmt: skip
    path = tmp_path / "votes.json"
    path.write_text(json.dumps({"report": report, "run": "worse", "votes": votes}))
    assert main(["--run", str(folder), "--votes", str(path)]) == 3
    summary = json.loads((folder / "eval" / "summary.json").read_text())
    assert summary["votes"]["win_rate"]["wins"] == 1
    assert summary["votes"]["win_rate"]["losses"] == 10
    assert summary["votes"]["left_rate"] == pytest.approx(6 / 11)
    assert summary["votes"]["length_difference"] != 0  # it unlearned how long an answer is
    assert "12 blind votes" in capsys.readouterr().out
    assert "12 blind votes" in (folder / "eval" / "report.html").read_text()
    # Evaluated again with the same answers, the votes still count.
    main(["--run", str(folder), "--suites", str(known_suite), "--dtype", "fp32"])
    again = json.loads((folder / "eval" / "summary.json").read_text())
    assert again["votes"] == summary["votes"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"report": "0000", "votes": [VOTE]}, "are for report 0000"),
        ({"votes": []}, "nobody rated a pair"),
        ({"votes": [{**VOTE, "id": "q99"}]},
         "no prompt known/q99/0"),
        ({"votes": [VOTE, VOTE]},
         "rated twice"),
        ({"votes": [{**VOTE, "left": "b"}]},
         "votes.0.left"),
    ],
)  # fmt: skip
def test_votes_that_do_not_fit(
    evaluated: tuple[Path, int], tmp_path: Path, change: dict, words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, _ = evaluated
    report = json.loads((folder / "eval" / "summary.json").read_text())["report_id"]
    path = tmp_path / "votes.json"
    path.write_text(json.dumps({"report": report, "run": "worse", "votes": [], **change}))
    with pytest.raises(SystemExit):
        main(["--run", str(folder), "--votes", str(path)])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        ('{"better": "A"}', 3, "(50%, 95% 19% to 81%; 85% is asked for). Take a more able model"),
        ("Both are fine.", 3, "; 6 held no verdict. Take a more able model"),
        ((401, "wrong key"), 1, "the judge refused with 401: wrong key"),
    ],
)
def test_a_judge_from_the_command_line(
    evaluated: tuple[Path, int], known_suite: Path, capsys: pytest.CaptureFixture[str],
    reply: str | tuple[int, str], code: int, words: str,
) -> None:  # fmt: skip
    folder, _ = evaluated
    with ChatServer(lambda body: reply) as server:
        given = ["--run", str(folder), "--suites", str(known_suite), "--dtype", "fp32"]
        given += ["--judge", server.url, "--judge-model", f"made-up-{code}"]
        try:
            got = main(given)
        except SystemExit as stopped:
            got = int(str(stopped.code))
    out, err = capsys.readouterr()
    assert got == code
    assert f"judge: {server.url} (model made-up-{code}) is asked first about" in out
    assert "12 prompts with both answers" not in out
    if code == 1:
        assert err.count("\n") == 1 and words in err
        kept = (folder / "eval" / "results.jsonl").read_text().splitlines()
        assert len(kept) == 24 and json.loads(kept[-1])["tuned"]["answers"]
        return
    judged = json.loads((folder / "eval" / "summary.json").read_text())["judge"]
    assert f"judge made-up-{code} is unfit, so no verdict rests on it" in out and words in out
    assert not judged["calibration"]["trusted"] and "win_rate" not in judged
    page = (folder / "eval" / "report.html").read_text()
    assert page.index("is unfit, so no verdict") < page.index('id="verdicts"') and words in page
    assert f"{server.url} was asked about none" in page


def test_served_models_as_arms(
    evaluated: tuple[Path, int], worse_run: Path, known_suite: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Both arms behind HTTP, answered by the real models, say what the local arms say."""
    from eval.generation.arms import local_arms
    from eval.generation.base_model import load_base
    from eval.generation.decoding import Decoding
    from recipes.runner.run.finished import find_run

    local = find_run(str(worse_run), None)
    arms = dict(
        zip(("b", "t"), local_arms(local, load_base(local.config, "fp32", "cpu")), strict=True)
    )
    lock = threading.Lock()

    def say(body: dict) -> str:
        with lock:  # one adapter switch for both
            decoding = Decoding(body["max_tokens"])
            return arms[body["model"]].answer([body["messages"]], decoding, "x")[0].text

    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(worse_run / "run.json", folder)  # no adapter here: it is merged and served
    with ChatServer(say) as server:
        given = ["--run", str(folder), "--suites", str(known_suite)]
        given += ["--base-endpoint", server.url, "--tuned-endpoint", server.url]
        with pytest.raises(SystemExit):
            main([*given, "--base-model", "b", "--tuned-model", "b"])
        assert "both arms are the same model" in capsys.readouterr().err
        given += ["--base-model", "b", "--tuned-model", "t"]
        assert main(given) == 3
        out = capsys.readouterr().out
        assert f"tuned: every prompt is sent to {server.url} (model t)" in out
        asked = len(server.requests)
        assert main(given) == 3 and len(server.requests) == asked
        assert "answers to 1 suites are kept from" in capsys.readouterr().out
    keys = ("id", "outcome", "difference")

    def rows(path: Path) -> list[list[object]]:
        lines = (path / "eval" / "results.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [
            [*(row[key] for key in keys), row[arm]["answers"][0]["text"]]
            for row in found if row["suite"] == "known" for arm in ("base", "tuned")
        ]  # fmt: skip

    assert rows(folder) == rows(evaluated[0])
    summary = json.loads((folder / "eval" / "summary.json").read_text())
    assert [row["name"] for row in summary["suites"]] == ["known"]
    assert summary["settings"]["fallbacks"][0]["part"] == "eval.held_out"


def test_compare_puts_runs_side_by_side(
    evaluated: tuple[Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = evaluated
    second = tmp_path / "second"
    shutil.copytree(folder, second)
    record = json.loads((second / "run.json").read_text())
    record["config"]["lora_r"] = 64
    record["peak_memory_bytes"] = 3 * 2**30
    (second / "run.json").write_text(json.dumps(record))
    page = tmp_path / "compare.html"
    assert compare.main(["--runs", str(folder), str(second), "--output", str(page)]) == 0
    out = capsys.readouterr().out
    assert "lora_r" in out and "64" in out and "3.00 GiB" in out and "worse" in out
    # Folded into a narrow column: "don't ship (1 of 1 gates fails)".
    assert all(word in out for word in ("don't", "ship", "gates", "fails")) and "{" not in out
    assert "learning_rate" not in out  # the same in both
    html = page.read_text()
    assert "lora_r" in html and "Settings that differ" in html


def test_compare_takes_runs_that_were_not_evaluated(
    worse_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, losses in (("small", (3.0, 2.5, 2.75)), ("large", (3.0, 2.25))):
        folder = tmp_path / name
        shutil.copytree(worse_run, folder)
        record = json.loads((folder / "run.json").read_text())
        points = [{"step": 5 * i, "held_out_loss": loss} for i, loss in enumerate(losses)]
        record |= {"evaluations": points, "status": "finished"}
        (folder / "run.json").write_text(json.dumps(record))
    page = tmp_path / "compare.html"
    runs = [str(tmp_path / "small"), str(tmp_path / "large")]
    assert compare.main(["--runs", *runs, "--output", str(page)]) == 0
    out = capsys.readouterr().out
    assert "2.500 (step 5, 3.000 before)" in out and "2.250 (step 5, 3.000 before)" in out
    assert "not evaluated yet" in out and "Verdicts" not in page.read_text()


def test_compare_wants_two_runs(worse_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.main(["--runs", str(worse_run)])
    assert "Name two or more" in capsys.readouterr().err
