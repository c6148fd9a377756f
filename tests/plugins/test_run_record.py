"""Run folders: what is whole, what may be written over, what is resumed."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from plugins.failures import describe
from plugins.run_record.facts import base_as_held
from recipes.runner.core.errors import UserError
from recipes.runner.run import folder
from recipes.runner.run.checkpoints import checkpoints, damage, set_damaged_aside
from recipes.runner.run.record import FINISHED, RunRecord, read_record


def make_checkpoint(run, step):
    path = run / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"a": torch.ones(64)}, path / "adapter_model.safetensors")
    torch.save({"state": torch.ones(64)}, path / "optimizer.pt")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adapter_model.safetensors", "adapter_model.safetensors is cut short"),
        ("optimizer.pt", "optimizer.pt is cut short"),
        ("trainer_state.json", "not written to its end"),
    ],
)
def test_a_cut_file_makes_a_checkpoint_damaged(tmp_path, name, words):
    path = make_checkpoint(tmp_path, 10)
    assert damage(path) is None
    cut(path / name)
    assert words in damage(path)


def test_damaged_checkpoint_is_set_aside_and_the_last_whole_one_stays(tmp_path):
    make_checkpoint(tmp_path, 5)
    cut(make_checkpoint(tmp_path, 10) / "adapter_model.safetensors")
    ((path, reason),) = set_damaged_aside(tmp_path)
    assert path.name == "checkpoint-10"
    assert "cut short" in reason
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-5"]
    assert (tmp_path / "checkpoint-10.damaged" / "optimizer.pt").exists()


def test_finished_run_is_refused_unless_forced(tmp_path):
    RunRecord(tmp_path).update(status=FINISHED)
    with pytest.raises(UserError, match=r"finished.*RUN=.*FORCE=1"):
        folder.refuse_finished(tmp_path, force=False)
    folder.refuse_finished(tmp_path, force=True)


def test_starting_over_keeps_the_old_run(tmp_path):
    run = tmp_path / "run"
    RunRecord(run).update(status=FINISHED, marker="old")
    folder.set_old_run_aside(run)
    assert not run.exists()
    assert read_record(tmp_path / "run.old")["marker"] == "old"


AUTO = {"auto_resume_from_checkpoints": True}


def test_other_settings_do_not_resume_into_an_interrupted_run(tmp_path):
    make_checkpoint(tmp_path, 5)
    RunRecord(tmp_path).update(status="interrupted", config={"lora_r": 16, "seed": 42})
    with pytest.raises(UserError, match="lora_r 16 -> 64"):
        folder.prepare_resuming(tmp_path, {"lora_r": 64, "seed": 42} | AUTO)
    assert folder.prepare_resuming(tmp_path, {"lora_r": 16, "seed": 42} | AUTO) == "checkpoint-5"


def test_other_ranks_go_on_with_a_run_only_where_a_step_stays_as_large(tmp_path, monkeypatch):
    make_checkpoint(tmp_path, 5)
    was = {"micro_batch_size": 2, "gradient_accumulation_steps": 4, **AUTO}
    RunRecord(tmp_path).update(status="interrupted", world_size=1, config=was)
    monkeypatch.setenv("WORLD_SIZE", "2")
    halved = was | {"gradient_accumulation_steps": 2}
    assert folder.prepare_resuming(tmp_path, halved) == "checkpoint-5"
    with pytest.raises(UserError, match=r"hold 8 sequences, on 1 rank; .* hold 16, on 2"):
        folder.prepare_resuming(tmp_path, was)


def test_shards_are_read_again_by_the_ranks_that_wrote_them(tmp_path, monkeypatch):
    make_checkpoint(tmp_path, 5)
    zero3 = {"gradient_accumulation_steps": 2, "deepspeed": "recipes/accelerate/zero3.json", **AUTO}
    resolved = zero3 | {"deepspeed": {"zero_optimization": {"stage": 3}}}
    RunRecord(tmp_path).update(status="interrupted", world_size=2, config=resolved)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert folder.prepare_resuming(tmp_path, zero3) == "checkpoint-5"
    with pytest.raises(UserError, match="those of zero3 on 2 ranks; this one would be ddp on 2"):
        folder.prepare_resuming(tmp_path, {"gradient_accumulation_steps": 2, **AUTO})
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="this one would be zero3 on 4"):
        folder.prepare_resuming(tmp_path, zero3 | {"gradient_accumulation_steps": 1})


def test_only_one_process_trains_into_a_folder(tmp_path):
    held = folder.lock(tmp_path)
    code = (
        "import sys; from pathlib import Path; from recipes.runner.run.folder import lock;"
        "lock(Path(sys.argv[1]))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert "another process is training into this folder" in other.stderr
    held.release()


def test_a_run_ended_from_outside_says_so_unless_it_goes_on(tmp_path):
    RunRecord(tmp_path).update(status="running", steps=3)
    held = folder.lock(tmp_path)
    folder.close_record(tmp_path, "failed", "rank 0 was killed")
    assert read_record(tmp_path)["status"] == "running", "another process trains"
    held.release()
    folder.close_record(tmp_path, "failed", "rank 0 was killed")
    record = read_record(tmp_path)
    assert (record["status"], record["reason"], record["steps"]) == (
        "failed",
        "rank 0 was killed",
        3,
    )
    folder.close_record(tmp_path, "interrupted", "too late")
    assert read_record(tmp_path)["status"] == "failed"
    folder.close_record(tmp_path / "none", "failed", "never begun")
    assert not (tmp_path / "none").exists()


def test_record_survives_a_write_that_fails(tmp_path, monkeypatch):
    record = RunRecord(tmp_path)
    record.update(status="running", step=1)

    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", no_space)
    with pytest.raises(OSError):
        record.update(step=2)
    monkeypatch.undo()
    assert read_record(tmp_path)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_base_that_is_not_four_bit_shows():
    from bitsandbytes.nn import Linear4bit

    held = Linear4bit(64, 64, bias=False, quant_type="nf4").to("cpu")
    plain = torch.nn.Linear(64, 64, bias=False).requires_grad_(False)
    rows = {row["class"]: row for row in base_as_held(torch.nn.ModuleList([held, plain]))}
    assert rows["Linear4bit"]["dtype"] == "nf4 (4-bit)"
    assert rows["Linear4bit"]["bytes"] == 64 * 64 // 2
    assert rows["Linear"]["dtype"] == "torch.float32"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "out of GPU memory"),
        (UserError("wrong", "file:3", "Fix it"), "file:3: wrong. Fix it"),
        (ValueError("odd\nmore"), "training failed: ValueError: odd"),
    ],
)
def test_failures_are_one_line(error, words):
    line = describe(error)
    assert words in line
    assert "\n" not in line


def test_truncated_weights_are_named(tmp_path):
    from safetensors import safe_open

    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(64)}, path)
    cut(path)
    with pytest.raises(Exception) as caught, safe_open(path, framework="pt"):
        pass
    assert "a weights file is damaged" in describe(caught.value)


@pytest.mark.parametrize("before", [0, 5000])
def test_tokens_are_those_that_a_trainer_of_preferences_logs(tmp_path, monkeypatch, before):
    """Beside those before a resumption, after which it counts from 0."""
    from types import SimpleNamespace

    from plugins.run_record import plugin

    now = [100.0]
    monkeypatch.setattr(plugin.time, "monotonic", lambda: now[0])
    run = RunRecord(tmp_path)
    run.data = {"losses": [], "evaluations": [], "run": "x", "config": {"rl": "dpo"}}
    run.data["tokens_before"] = before
    follow = plugin._Follow(run)
    monkeypatch.setattr(follow, "_draw", lambda: None)
    state = SimpleNamespace(global_step=0, epoch=0.0, best_model_checkpoint=None)
    for step in (1, 2, 3):
        now[0] += 10
        state.global_step = step
        follow.on_step_end(None, state, None)
        follow.on_log(None, state, None, {"loss": 0.6, "num_tokens": 300.0 * step})
    follow.on_train_end(None, state, None)
    assert run.data["tokens"] == 900 + before
    assert run.data["tokens_per_second"] == pytest.approx(30)
