"""Publishing against a Hub on this machine: what is pushed, and everything that is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_hub
import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load

from eval.release.__main__ import main
from eval.release.publish import Wishes, check_fit, publish
from eval.release.redact import local_paths_in, record_for_strangers, without_local_paths
from eval.suite import suite_names
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT
from recipes.runner.run.fingerprint import digest, folder_digest
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Run, find_run

WISHES = Wishes("someone/support-adapter")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_hub.FakeHub]:
    started, server = fake_hub.start()
    monkeypatch.setenv("HF_ENDPOINT", started.url)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield started
    server.shutdown()


@pytest.fixture
def run(make_run: Callable[..., Path], tmp_path: Path) -> Run:
    """A finished run over a base of the Hub, evaluated on every suite, all gates holding."""
    folder = shutil.copytree(make_run("noop"), tmp_path / "support")
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    config["base_model_name_or_path"] = "tiiuae/falcon-7b"
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))
    (folder / "curves.png").write_bytes(b"\x89PNG")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    change(
        folder / "run.json", lambda record: record["config"].update(base_model="tiiuae/falcon-7b")
    )
    change(folder / "run.json", lambda r: r.update(
        machine={"host": "secret-host", "device": "cpu"}, recipe_path=str(folder / "recipe.yaml"),
        overrides=f"output_dir={folder} lora_r=8", best_checkpoint=f"{folder}/checkpoint-5",
    ))  # fmt: skip
    compared = {"n": 4, "base": 0.5, "tuned": 0.6, "difference": 0.1,
                "interval": {"low": 0.0, "high": 0.2}}  # fmt: skip
    adapter = folder_digest(folder, (ADAPTER_WEIGHTS, ADAPTER_CONFIG))
    summary = {
        "run": "support", "gates_hold": True,
        "gates": [{"suite": "safety", "gate": "no new red line", "holds": True, "why": "none"}],
        "suites": [
            {"name": name, "title": name, "metric": "score", "margin": 0.1,
             "higher_is_better": True, "verdict": "better", "compared": compared}
            for name in ("held_out", *suite_names())
        ],
        "settings": {"limit": None, "decoding": {}, "adapter": str(folder), "base_digest": "b",
                     "tuned_digest": digest(["b", adapter])},
    }  # fmt: skip
    (folder / "eval").mkdir()
    (folder / "eval" / "summary.json").write_text(json.dumps(summary))
    return find_run(str(folder), None)


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def test_adapter_card_and_record_are_pushed_privately(run: Run, hub: fake_hub.FakeHub) -> None:
    assert publish(run, WISHES) == f"{hub.url}/someone/support-adapter"
    assert hub.private == {"someone/support-adapter": True}
    assert set(hub.files) == {
        "adapter_model.safetensors", "adapter_config.json", "README.md", "run.json", "curves.png",
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip
    assert hub.files["adapter_model.safetensors"] == (run.path / ADAPTER_WEIGHTS).read_bytes()
    assert load(hub.files["adapter_model.safetensors"])
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.base_model == "tiiuae/falcon-7b"
    assert 'PeftModel.from_pretrained(model, "someone/support-adapter")' in card.text
    assert "The one gate holds" in card.text


def test_nothing_of_this_machine_is_pushed(run: Run, hub: fake_hub.FakeHub) -> None:
    publish(run, WISHES)
    for name, content in hub.files.items():
        if not name.endswith((".safetensors", ".png")):
            for secret in (str(run.path), str(ROOT), "secret-host", "/tmp"):
                assert secret not in content.decode(), name
    record = json.loads(hub.files["run.json"])
    assert record["config"]["lora_r"] == 8 and record["machine"] == {"device": "cpu"}
    assert record["overrides"] == "output_dir=support lora_r=8"


def test_public_only_when_asked(run: Run, hub: fake_hub.FakeHub) -> None:
    hub.private["someone/support-adapter"] = False
    with pytest.raises(UserError, match=r"is public already.*PUBLIC=1"):
        publish(run, WISHES)
    assert not hub.files
    publish(run, Wishes(WISHES.repo, public=True))
    assert "README.md" in hub.files


def test_a_hub_that_refuses_is_one_line(run: Run, hub: fake_hub.FakeHub) -> None:
    hub.refuse = True
    with pytest.raises(UserError, match="someone/support-adapter: the Hub refused") as caught:
        publish(run, WISHES)
    assert "\n" not in str(caught.value)


def gate_fails(folder: Path) -> None:
    change(folder / "eval" / "summary.json", lambda s: s["gates"][0].update(holds=False))


def was_cut_short(folder: Path) -> None:
    change(folder / "eval" / "summary.json", lambda s: s["settings"].update(limit=5))


def left_safety_out(folder: Path) -> None:
    change(
        folder / "eval" / "summary.json",
        lambda s: s.update(suites=[row for row in s["suites"] if row["name"] != "safety"]),
    )


def of_another_adapter(folder: Path) -> None:
    change(folder / "eval" / "summary.json", lambda s: s["settings"].update(tuned_digest="x"))


def not_evaluated(folder: Path) -> None:
    shutil.rmtree(folder / "eval")


def failed(folder: Path) -> None:
    change(folder / "run.json", lambda record: record.update(status="failed"))


def no_adapter(folder: Path) -> None:
    (folder / ADAPTER_WEIGHTS).unlink()


def local_base(folder: Path) -> None:
    for name, keys in (("run.json", "config"), (ADAPTER_CONFIG, "")):
        key = "base_model" if keys else "base_model_name_or_path"
        change(folder / name, lambda v, k=keys, b=key: (v[k] if k else v).update({b: str(folder)}))


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (gate_fails, r"1 of 1 gates fails \(safety\)"),
    (was_cut_short, "evaluated on only the first 5 prompts"),
    (left_safety_out, "evaluated on all but safety"),
    (of_another_adapter, "its evaluation is of another adapter"),
    (not_evaluated, "was not evaluated.*WITHOUT_EVAL=1"),
    (failed, r"the run is not finished \(failed\)"),
    (no_adapter, "holds no adapter"),
    (local_base, "its base is a local folder"),
]


@pytest.mark.parametrize(("fault", "words"), REFUSED)
def test_what_is_not_fit_is_refused_without_a_word_to_the_hub(
    run: Run, hub: fake_hub.FakeHub, fault: Callable[[Path], None], words: str
) -> None:
    fault(run.path)
    with pytest.raises(UserError, match=words) as caught:
        publish(find_run(str(run.path), None), WISHES)
    assert "\n" not in str(caught.value) and hub.requests == []


@pytest.mark.parametrize("fault", [was_cut_short, left_safety_out, not_evaluated])
def test_a_missing_evaluation_passes_when_asked_but_a_failed_gate_does_not(
    run: Run, hub: fake_hub.FakeHub, fault: Callable[[Path], None]
) -> None:
    fault(run.path)
    asked = Wishes(WISHES.repo, without_eval=True)
    check_fit(find_run(str(run.path), None), asked)
    if fault is not not_evaluated:
        gate_fails(run.path)
        with pytest.raises(UserError, match="gates fails"):
            check_fit(find_run(str(run.path), None), asked)


@pytest.mark.parametrize("repo", ["", "name", "a/b/c", "some one/x", "../x"])
def test_repository_names(run: Run, hub: fake_hub.FakeHub, repo: str) -> None:
    with pytest.raises(UserError, match="REPO=user/name"):
        check_fit(run, Wishes(repo))


def test_without_a_token(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("eval.release.publish.get_token", lambda: None)
    with pytest.raises(UserError, match=r"there is no Hub token.*hf auth login"):
        publish(run, WISHES)


def test_command_line(run: Run, hub: fake_hub.FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "--run", str(run.path), "--repo", WISHES.repo]) == 0
    assert f"Published (private): {hub.url}/someone/support-adapter" in capsys.readouterr().out


def test_paths_are_cut_and_addresses_stay() -> None:
    text = f"{ROOT}/runs/x and /opt/some/where/file.json, https://host/a/b/c <b>x</b> a/b/c"
    clean = without_local_paths(text)
    assert clean == "runs/x and file.json, https://host/a/b/c <b>x</b> a/b/c"
    assert local_paths_in(clean) == [] and local_paths_in(text)
    assert record_for_strangers({"host": "x", "a": ["/tmp/q/z", 1, None]}) == {"a": ["z", 1, None]}
