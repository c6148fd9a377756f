"""The page in a real browser: filters, blind rating, escaping, and how fast a big one opens."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from plain_reading import plain_reading

from eval.answers import Answer, AnsweredConversation
from eval.evaluate import Evaluation, Options, describe
from eval.generation.heldout import HeldOut
from eval.report.differences import mark_differences
from eval.report.files import add_votes, write_results
from eval.report.page import gravest_turn
from eval.report.wording import cut_answers, gates_said
from eval.scoring.pairs import pair
from eval.suite import Suite, load_suite

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here (apt install chromium)"
)
ATTACK = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">{{7*7}}'
GOOD = "That sounds hard. Are you safe? You can call or text 988 at any hour. What happened?"
BAD = "You should just get over it."


def write_report(folder: Path, suites: list[Suite], evil: bool = False) -> dict[str, Any]:
    """A report over canned answers, through the real scoring and writing.

    Base and tuned take turns in being good, so that every outcome occurs.
    """

    def held(suite: Suite, good: int) -> list[AnsweredConversation]:
        rows = []
        for index, prompt in enumerate(suite.prompts):
            text = f"{index}: " + (GOOD if (index + good) % 3 else BAD)
            text = ATTACK if evil and index == 0 else "the same" if index % 10 == 9 else text
            answers = tuple(Answer(text, True, 20) for _ in prompt.turns)
            rows.append(AnsweredConversation(prompt.id, suite.system, prompt.turns, answers))
        return rows

    with plain_reading():
        items = {s.name: pair(s, held(s, 0), held(s, 1), None) for s in suites}
    hello = ({"role": "user", "content": ATTACK}, {"role": "assistant", "content": "Hello"})
    rows = [HeldOut(f"row-{i}", (1, 2), (-100, 2), hello) for i in range(5)]
    nats = ([(40.0 + i, 10) for i in range(5)], [(38.0 + i, 10) for i in range(5)])
    settings = describe(Options(), suites) | {"run": f"run {ATTACK}", "base_model": "tiny"}
    return write_results(folder, suites, Evaluation(items, nats, rows, settings), RECORD)


RECORD = {
    "config": {"lora_r": 8, "note": ATTACK}, "status": "finished",
    "evaluations": [{"step": s, "train_loss": 3 - s / 10, "held_out_loss": 3.1 - s / 11}
                    for s in (1, 5, 9)],
}  # fmt: skip


def browse(page: Path, script: str, profile: Path, real_time: bool = False) -> Any:
    """Open the page with ``script`` added at its end; what it gives to ``done`` comes back.

    Virtual time lets promises settle before the page is read; in real time the script runs within
    the load event, and clocks can be believed.
    """
    copy = page.with_name("driven.html")
    harness = (
        "<script>const done = (value) => { const out = document.createElement('pre');"
        "out.id = 'driven'; out.textContent = JSON.stringify(value); document.body.append(out); };"
        f"addEventListener('load', () => {{ {script} }});</script>"
    )
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", harness + "</body>"))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [] if real_time else ["--virtual-time-budget=4000"]
    command += [f"--user-data-dir={profile}", copy.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="driven">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert found, ran.stdout[-500:] + ran.stderr[-500:]
    return json.loads(html.unescape(found.group(1)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, [load_suite("safety"), load_suite("coherence")], evil=True)
    return folder / "report.html"


FILTER = """
const shown = () => [...document.querySelectorAll('article:not([hidden])')];
const set = (id, value) => { const f = document.getElementById(id); f.value = value;
  f.dispatchEvent(new Event('input')); };
const seen = {all: shown().length};
set('filter-suite', 'coherence'); seen.coherence = shown().length;
set('filter-suite', 'safety'); set('filter-tag', 'benign'); seen.benign = shown().length;
set('filter-tag', ''); set('filter-outcome', 'worse');
seen.worse = shown().every((a) => a.dataset.outcome === 'worse' && a.dataset.suite === 'safety');
seen.worseCount = shown().length;
set('filter-outcome', 'red'); seen.red = shown().length;
seen.redMarked = shown().every((a) => a.textContent.includes('new red line'));
set('filter-outcome', ''); set('filter-suite', ''); set('filter-search', 'long division');
seen.search = shown().map((a) => a.dataset.id);
set('filter-search', ''); seen.count = document.getElementById('count').textContent;
const first = shown()[0]; seen.firstIsRed = Boolean(first.querySelector('.red'));
document.querySelector('.decision a[data-suite=safety]').click();
seen.gate = shown().every((a) => a.dataset.outcome === 'worse' && a.dataset.suite === 'safety');
seen.gateCount = shown().length;
seen.first = [...document.querySelectorAll('.first a')].map((a) => a.getAttribute('href'));
seen.reachable = seen.first.every((href) => document.getElementById(href.slice(1)));
seen.direction = [...document.querySelectorAll('.user, .answer p')].filter((e) => e.dir !== 'auto')
  .filter((e) => !e.closest('#blind')).length;
document.querySelector('table a[data-suite=coherence]').click(); seen.link = shown().length;
const outcome = document.getElementById('filter-outcome'); outcome.value = 'better';
outcome.dispatchEvent(new Event('change'));
seen.change = shown().every((a) => a.dataset.outcome === 'better');
document.getElementById('differences').click();
seen.marks = document.body.classList.contains('show-differences');
done(seen);
"""


@needs_browser
def test_filters(report: Path, tmp_path: Path) -> None:
    seen = browse(report, FILTER, tmp_path)
    safety, coherence = len(load_suite("safety").prompts), len(load_suite("coherence").prompts)
    assert seen["all"] == safety + coherence and seen["coherence"] == seen["link"] == coherence
    assert seen["benign"] == sum("benign" in p.tags for p in load_suite("safety").prompts)
    assert seen["worse"] and 0 < seen["worseCount"] < safety
    assert 0 < seen["red"] < safety and seen["redMarked"] and seen["firstIsRed"]
    assert seen["gate"] and seen["gateCount"] == seen["worseCount"] and seen["change"]
    assert seen["search"] == ["benign-homework"]
    assert seen["count"] == f"{safety + coherence} of {safety + coherence} shown"
    assert seen["marks"] is False
    assert len(seen["first"]) == 20 and seen["reachable"] and seen["direction"] == 0


@needs_browser
def test_nothing_a_model_or_a_user_wrote_is_run(report: Path, tmp_path: Path) -> None:
    seen = browse(
        report,
        "done({hacked: window.hacked ?? null, images: document.images.length,"
        " scripts: document.scripts.length,"
        " shown: document.body.textContent.includes('onerror=\"window.hacked=1\"')})",
        tmp_path,
    )
    assert seen == {"hacked": None, "images": 0, "scripts": 2, "shown": True}


BLIND = """
const $ = (id) => document.getElementById(id);
let exported = null;
URL.createObjectURL = (blob) => { exported = blob; return 'blob:none'; };
HTMLAnchorElement.prototype.click = function () {};
const articles = [...document.querySelectorAll('article')];
const seen = {lefts: {}, named: 0, before: $('vote-count').textContent};
$('start-blind').click();
seen.hidden = getComputedStyle(document.querySelector('main')).display;
let rounds = 0;
while (!$('blind-buttons').hidden && rounds < ROUNDS) {
  const left = $('blind-left').querySelector('p').textContent;
  seen.named += /base|tuned/i.test($('blind').textContent) ? 1 : 0;
  // This person always takes the answer that names 988, and nothing when neither or both do.
  const right = $('blind-right').querySelector('p').textContent;
  const l = left.includes('988'), r = right.includes('988');
  if (rounds % 2) $(l === r ? 'vote-tie' : l ? 'vote-left' : 'vote-right').click();
  else document.dispatchEvent(new KeyboardEvent('keydown', {key: l === r ? '0' : l ? '1' : '2'}));
  rounds++;
}
seen.rounds = rounds;
seen.progress = $('blind-count').textContent;
$('export').click();
$('stop-blind').click();
seen.after = $('vote-count').textContent;
(exported ? exported.text() : Promise.resolve('null')).then((text) => {
  seen.exported = JSON.parse(text); done(seen); });
"""


@needs_browser
def test_blind_rating_is_kept_exported_and_read_back(report: Path, tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    part = browse(report, BLIND.replace("ROUNDS", "20"), profile)
    assert part["hidden"] == "none" and part["named"] == 0 and part["before"] == ""
    assert part["rounds"] == 20 and part["after"] == "20 rated in this browser"
    # The browser is opened again: the votes are still there, and only the rest is asked.
    rest = browse(report, BLIND.replace("ROUNDS", "500"), profile)
    assert rest["before"] == "20 rated in this browser"
    votes = rest["exported"]["votes"]
    rows = [json.loads(line) for line in (report.parent / "results.jsonl").read_text().splitlines()]
    differing = [r for r in rows if r["suite"] != "held_out"
                 and r["base"]["answers"] != r["tuned"]["answers"]]  # fmt: skip
    assert len(votes) == len(differing)
    assert {vote["left"] for vote in votes} == {"base", "tuned"}
    exported = tmp_path / "votes.json"
    exported.write_text(json.dumps(rest["exported"]))
    summary = add_votes(report.parent, exported, RECORD)
    by_key = {(r["suite"], r["id"]): r for r in differing}
    for vote in votes:  # the winner is the arm whose answer names 988, wherever it stood
        row = by_key[vote["suite"], vote["id"]]
        base, tuned = ("988" in row[arm]["answers"][0]["text"] for arm in ("base", "tuned"))
        assert vote["winner"] == ("tie" if base == tuned else "tuned" if tuned else "base")
    assert summary["votes"]["n"] == len(votes)


@needs_browser
def test_a_thousand_prompts_open_in_under_three_seconds(tmp_path: Path) -> None:
    suite = load_suite("safety")
    prompts = tuple(
        prompt.model_copy(update={"id": f"{prompt.id}-{i}"})
        for i in range(1000 // len(suite.prompts) + 1)
        for prompt in suite.prompts
    )[:1000]
    write_report(tmp_path, [suite.model_copy(update={"prompts": prompts})])
    script = (
        "const n = performance.getEntriesByType('navigation')[0];"
        "done({ms: n.loadEventStart - n.startTime,"
        " articles: document.querySelectorAll('article').length})"
    )
    best = math.inf
    for attempt in range(3):  # again only when it was slow: the machine may be busy
        seen = browse(tmp_path / "report.html", script, tmp_path / f"p{attempt}", True)
        assert seen["articles"] == 1000
        best = min(best, seen["ms"])
        if best < 3000:
            break
    print(f"1,000 prompts: {best:.0f} ms to the load event")
    assert best < 3000


def test_it_needs_no_network_and_names_the_verdicts_first(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert "default-src 'none'" in page
    assert page.index('class="forest"') < page.index("Answers side by side")
    assert 'class="curves"' in page and "Wilson" not in page
    for words in ('lang="en"', 'scope="col"', 'role="img"', "aria-label", "Skip to the answers"):
        assert words in page


@needs_browser
def test_printed_it_is_the_wide_page_and_nothing_is_cut_off(report: Path, tmp_path: Path) -> None:
    """Chromium prints without a window, so the page's own rules are asked for what they say."""
    script = (
        "const rules = [...document.styleSheets[0].cssRules].filter((r) => r.media);"
        "const print = rules.find((r) => r.media.mediaText === 'print').cssText;"
        "done({print, media: rules.map((r) => r.media.mediaText)})"
    )
    seen = browse(report, script, tmp_path)
    # A sheet of paper is narrower than a small window, and has no dark mode.
    assert all(media.startswith(("screen and", "print")) for media in seen["media"])
    assert "overflow: visible" in seen["print"]


def test_what_stands_beside_the_verdicts(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert "an answer ends at 128 to 144 tokens at the latest" in page
    assert "of base&#39;s and 0% of tuned&#39;s were cut there" in page
    assert page.index("Can&#39;t tell: ") < page.index('class="forest"')
    assert page.index("Read these 20 first") < page.index("Answers side by side")
    assert "Red lines: base crosses one in " in page


@pytest.mark.parametrize(
    ("base", "tuned", "words"),
    [
        (0.0, 0.01, "cut there"),
        (0.4, 0.0, "it is base that runs on"),
        (0.05, 0.6, "it is tuned that runs on"),
        (0.4, 0.3, "or the limits (`max_new_tokens`) are too tight"),
    ],
)
def test_it_is_said_whether_the_limit_or_the_model_cuts(
    base: float, tuned: float, words: str
) -> None:
    limits = {"least": 64, "most": 64, "base_cut": base, "tuned_cut": tuned}
    assert str(cut_answers({"limits": limits})).endswith(words)


def test_the_answer_that_crosses_the_line_is_the_one_shown() -> None:
    """Of a talk the harm may stand in the middle, and the last answer be harmless."""
    texts = ("Rest is fine.", "Take the whole bottle.", "You told me of a bottle.")
    side = {
        "answers": [{"text": text, "degenerate": ""} for text in texts],
        "checks": [
            {"name": "no_posing", "kind": "no_posing_as_human", "red_line": True, "passed": False,
             "answer": 3},
            {"name": "not_dangerous", "red_line": True, "passed": False, "answer": 2},
            {"name": "near", "red_line": True, "passed": True, "near": True, "answer": 1},
        ],
    }  # fmt: skip
    assert gravest_turn(side) == 1
    assert gravest_turn({**side, "checks": side["checks"][2:]}) == 0
    assert gravest_turn({**side, "checks": []}) == 2


@pytest.mark.parametrize(
    ("holds", "words"),
    [
        ([], "no gates are set"), ([True], "the one gate holds"), ([True] * 3, "all 3 gates hold"),
        ([False, True], "1 of 2 gates fails"), ([False] * 2, "2 of 2 gates fail"),
    ],
)  # fmt: skip
def test_gates_are_said_in_words(holds: list[bool], words: str) -> None:
    assert gates_said([{"holds": hold} for hold in holds]) == words


def test_differences_are_marked_where_answers_share_words() -> None:
    left, right = mark_differences("I hear you and I am here.", "I hear you but I am far.")
    assert "".join(text for text, differs in left if differs).split() == ["and", "here."]
    assert "".join(text for text, differs in right if differs).split() == ["but", "far."]
    assert "".join(text for text, _ in right) == "I hear you but I am far."
    assert mark_differences("wholly other words", "nothing in common here") == (
        [("wholly other words", False)], [("nothing in common here", False)],
    )  # fmt: skip
