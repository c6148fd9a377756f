"""A sweep before and around its runs: what is refused, how runs are named, which GPU each gets."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest

from recipes.runner.core.errors import UserError
from recipes.runner.core.overrides import parse_overrides
from recipes.runner.core.recipe import ROOT, load_recipe
from recipes.runner.core.terminal import Terminal
from recipes.runner.launch import jobs, train
from recipes.runner.launch.jobs import JobsOutcome
from recipes.runner.sweep import close as closing
from recipes.runner.sweep import sweep
from recipes.runner.sweep.folds import make_folds
from recipes.runner.sweep.grid import read_grid, sweep_paths
from recipes.runner.sweep.plot import Dot, dot, without_repeats
from recipes.runner.sweep.repeats import Repeats
from recipes.runner.sweep.runs import refuse_problems, sweep_runs
from recipes.runner.sweep.sweep import device_slots

RECIPE = load_recipe("smollm2-135m-qlora")
NOTHING = {"GPUS": "", "PROCESSES": "", "STRATEGY": ""}


def grid_of(tmp_path: Path, text: str, fixed: str = ""):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return read_grid(str(path), RECIPE, parse_overrides(fixed))


@pytest.mark.parametrize("path", sweep_paths(), ids=lambda path: path.stem)
def test_sweeps_that_we_ship_fit_a_recipe(path):
    name = "falcon7b-qlora" if path.stem in ("layers-falcon", "optimizer") else RECIPE.name
    recipe = load_recipe(name)
    grid = read_grid(path.stem, recipe, {})
    runs = sweep_runs(recipe, grid, {})
    assert len({run.folder for run in runs}) == len(runs) >= 3
    assert all(str(run.folder).startswith(f"runs/{name}-{path.stem}-") for run in runs)
    refuse_problems(recipe, grid, runs)


def test_the_sweep_for_little_data_asks_each_setting_over_seeds_and_folds():
    grid = read_grid("small-data", RECIPE, {})
    assert (grid.repeats, len(grid.points)) == (Repeats(3, 5), 9)


def test_there_is_a_sweep_for_each_question():
    names = {path.stem for path in sweep_paths()}
    assert names >= {"rank", "alpha-ratio", "optimizer", "learning-rate", "epochs"}
    assert {"layers-falcon", "layers-llama"} <= names


def test_axolotl_expands_the_grid(tmp_path):
    grid = grid_of(
        tmp_path,
        "learning_rate: [1e-4, 5.0e-4]\nseed: [1]\n"
        "_:\n  - {lora_r: 4, lora_alpha: 8}\n  - {lora_r: 8, lora_alpha: 16}\n",
    )
    assert grid.varying == ("learning_rate", "lora_r", "lora_alpha")
    assert grid.groups == (("learning_rate",), ("lora_r", "lora_alpha"))
    assert {point.name for point in grid.points} == {
        "0.0001-4-8", "0.0001-8-16", "0.0005-4-8", "0.0005-8-16"
    }  # fmt: skip
    assert all(point.values["seed"] == 1 for point in grid.points)
    assert {point.values["learning_rate"] for point in grid.points} == {1e-4, 5e-4}


@pytest.mark.parametrize(
    ("text", "fixed", "words"),
    [
        ("lora_rnk: [4, 8]", "", "grid.yaml:1: lora_rnk: unknown key. Did you mean lora_r"),
        ("seed: [1]\n_:\n  - {lora_alfa: 4}", "", r":3: _\[0\].lora_alfa: .*mean lora_alpha"),
        ("lora_r: 8", "", "is 8, which is no list of values"),
        ("lora_r: []", "", "no list of values"),
        ("lora_r: [8, true]", "", r"lora_r\[1\]: is true, which is no whole number"),
        ("lora_r: [8, eight]", "", r":1: lora_r\[1\]: is 'eight'"),
        ("lora_r: [8]\nlora_r: [16]", "", ":2: lora_r: is given twice"),
        ("lora_r: [8]\n_: [{lora_r: 4}]", "", 'stands under "_" too'),
        ("lora_r: [8, 16]", "lora_r=4", "lora_r: is given by SET too"),
        ("output_dir: [a, b]", "", "can't be swept"),
        ("lora_r: [8, 8]", "", "two runs have the same values"),
        ("_: [8]", "", r"_\[0\]: is no mapping"),
        ("[1, 2]", "", "holds no keys"),
        ("seeds: 0\nlora_r: [4, 8]", "", ":1: seeds: is 0, which is no whole number from 1 to 50"),
        ("seeds: true\nlora_r: [4, 8]", "", "seeds: is True, .*Write seeds: 3"),
        ("folds: 1\nlora_r: [4, 8]", "", "folds: is 1, which is no whole number from 2 to 50"),
        ("folds: [5]\nlora_r: [4, 8]", "", "folds: is .5., which is no whole number"),
        ("seeds: 3\nseed: [1, 2]", "", "seeds: stands beside seed"),
        ("seeds: 3\n_: [{seed: 1}, {seed: 2}]", "", "seeds: stands beside seed"),
        ("seeds: 3\nlora_r: [4, 8]", "seed=7", "seeds: is given by SET too, as seed"),
        ("folds: 3\nval_set_size: [0.1, 0.2]", "", "folds: says what is .* so does val_set_size"),
        ("lora_r: [8", "", "can't be read as YAML"),
    ],
)
def test_a_wrong_sweep_is_refused_in_words(tmp_path, text, fixed, words):
    with pytest.raises(UserError, match=words):
        grid_of(tmp_path, text, fixed)


def test_each_setting_runs_over_seeds_and_folds(tmp_path):
    grid = grid_of(tmp_path, "seeds: 3\nfolds: 5\nlora_r: [4, 8]\n")
    runs = sweep_runs(RECIPE, grid, {}, Path("runs/f"))
    assert len(runs) == 30 and len({run.folder for run in runs}) == 30
    assert [run.repeat.name for run in runs[:6:2]] == ["s42-f1", "s43-f2", "s44-f3"]
    # Every setting has its first run before any has its second, and the same repeats.
    assert {run.setting for run in runs[:2]} == {"lora_r: 4", "lora_r: 8"}
    assert runs[0].repeat == runs[1].repeat
    last = runs[-1]
    assert last.folder.name.endswith(last.repeat.name)
    assert last.overrides["seed"] == last.repeat.seed
    [training], [held_out] = last.overrides["datasets"], last.overrides["test_datasets"]
    assert training["path"] == f"runs/f/{last.repeat.fold}/train.jsonl"
    assert held_out["path"] == f"runs/f/{last.repeat.fold}/validation.jsonl"
    assert training["type"] == "chat_template" and held_out["split"] == "train"


@pytest.mark.parametrize(
    ("seeds", "folds"), [(1, 1), (3, 1), (1, 5), (3, 5), (3, 3), (4, 2), (6, 4)]
)
def test_every_pair_of_seed_and_fold_comes_once(seeds, folds):
    listed = Repeats(seeds, folds).listed(7)
    assert len(set(listed)) == seeds * folds
    assert {r.seed for r in listed[:seeds]} == (set(range(7, 7 + seeds)) if seeds > 1 else {None})
    assert {r.fold for r in listed[:folds]} == (set(range(1, 1 + folds)) if folds > 1 else {None})


def test_what_a_fold_has_in_common_is_taken_out_of_the_plot():
    level = {"f1": 0.0, "f2": 1.0, "f3": -2.0}
    dots = [
        Dot({"lora_r": rank}, 2 + rank / 10 + level[fold], None, fold)
        for rank, folds in ((4, ("f1", "f2", "f3")), (8, ("f1", "f2", "f3")), (16, ("f1",)))
        for fold in folds
    ]
    found = without_repeats(dots)
    by_rank = {rank: {round(d.loss, 6) for d in found if d.values["lora_r"] == rank}
               for rank in (4, 8, 16)}  # fmt: skip
    assert all(len(losses) == 1 for losses in by_rank.values())
    assert by_rank[8].pop() - by_rank[4].pop() == pytest.approx(0.4)


def test_folds_want_local_rows(tmp_path):
    config = {**RECIPE.config, "datasets": [{"path": "owner/name", "type": "chat_template"}]}
    with pytest.raises(UserError, match="a local file of JSON lines, and owner/name is none"):
        make_folds(type(RECIPE)("r", RECIPE.path, config), 5, tmp_path)
    two = {**RECIPE.config, "datasets": RECIPE.config["datasets"] * 2}
    with pytest.raises(UserError, match="this recipe names several"):
        make_folds(type(RECIPE)("r", RECIPE.path, two), 5, tmp_path)


def test_a_misspelt_sweep_is_named_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean rank"):
        read_grid("recipes/sweeps/rnk.yaml", RECIPE, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optimizer: [adamw_toch]", "no optimizer adamw_toch. Did you mean adamw_torch"),
        ("lora_target_modules: [[q_prj]]\nseed: [1, 2]", "q_prj matches no layer of this model"),
        ("lora_target_modules: [[q_prj], [k_proj]]", "Did you mean q_proj"),
        ("num_epochs: [1, 2]", "num_epochs has no effect while max_steps is set"),
    ],
)
def test_values_that_cannot_work_are_refused_before_the_first_run(tmp_path, text, words):
    grid = grid_of(tmp_path, text)
    with pytest.raises(UserError, match=words):
        refuse_problems(RECIPE, grid, sweep_runs(RECIPE, grid, {}))


def test_a_folder_of_another_run_is_not_taken_for_this_one(tmp_path):
    grid = grid_of(tmp_path, "lora_r: [4, 8]")
    recipe = type(RECIPE)("r", RECIPE.path, {**RECIPE.config, "output_dir": str(tmp_path / "r")})
    runs = sweep_runs(recipe, grid, parse_overrides("max_steps=2"))
    runs[0].folder.mkdir()
    rank = runs[0].point.values["lora_r"]
    overrides = f"max_steps=9 lora_r={rank} output_dir={runs[0].folder}"
    record = {"status": "finished", "overrides": overrides}
    (runs[0].folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"a run with other settings \(max_steps 9 -> 2\)"):
        refuse_problems(recipe, grid, runs)


def test_each_run_gets_its_own_gpu(monkeypatch):
    monkeypatch.setattr(sweep, "count_gpus", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    slots = device_slots("2", NOTHING)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert [s["CUDA_VISIBLE_DEVICES"] for s in device_slots("3", NOTHING)] == ["4", "5", "7"]
    assert device_slots("", NOTHING) == [{}]
    with pytest.raises(UserError, match="4 runs at a time want 4 GPUs, and 3 visible here"):
        device_slots("4", NOTHING)
    with pytest.raises(
        UserError, match=r"gives each run one GPU\. Leave out STRATEGY, or PARALLEL"
    ):
        device_slots("2", {**NOTHING, "STRATEGY": "ddp"})
    with pytest.raises(UserError, match="'two' is no number"):
        device_slots("two", NOTHING)


def test_without_a_gpu_runs_go_one_by_one(monkeypatch):
    monkeypatch.setattr(sweep, "count_gpus", lambda: 0)
    assert device_slots("1", NOTHING) == [{}]
    with pytest.raises(UserError, match="2 runs at a time want 2 GPUs, and there is none here"):
        device_slots("2", NOTHING)


JOBS = """
import sys
from recipes.runner.launch.jobs import Job, run_jobs
words = "import os, sys, time; print(os.environ['CARD'], flush=True); time.sleep({}); sys.exit({})"
jobs = [Job(f"job{n}", [sys.executable, "-c", words.format(seconds, code)])
        for n, (seconds, code) in enumerate(JOBS)]
found = run_jobs(jobs, SLOTS, lambda job: None, lambda job, code: None)
print(sorted(found.codes.items()), found.interrupted)
"""


def start(jobs, slots):
    program = JOBS.replace("JOBS", repr(jobs)).replace("SLOTS", repr(slots))
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_jobs_run_side_by_side_and_go_on_after_a_failure():
    began = time.monotonic()
    process = start([(2, 0), (0, 3), (0, 0)], [{"CARD": "a"}, {"CARD": "b"}])
    output, _ = process.communicate(timeout=600)
    assert "[('job0', 0), ('job1', 3), ('job2', 0)] False" in output
    assert {"job0 | a", "job1 | b", "job2 | b"} <= set(output.splitlines())
    assert time.monotonic() - began < 30


def test_jobs_end_when_their_time_is_up():
    program = JOBS.replace("lambda job, code: None)", "lambda job, code: None, 3.0)").replace(
        "found.interrupted)", "found.interrupted, found.late)"
    )
    words = program.replace("JOBS", repr([(100, 0), (0, 0)])).replace(
        "SLOTS", repr([{"CARD": "a"}])
    )
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True,
                          timeout=600)  # fmt: skip
    assert done.stdout.strip().endswith("False True")
    assert "job1" not in done.stdout


WHY = """
import time
from recipes.runner.launch.jobs import time_is_up
try:
    print("begun", time_is_up(), flush=True)  # within: it is stopped as soon as this is read
    time.sleep(600)
except KeyboardInterrupt:
    print("time is up:", time_is_up(), flush=True)
"""


def test_a_job_knows_whether_its_time_was_up_or_somebody_stopped_it():
    words = (
        "import sys; from recipes.runner.launch.jobs import Job, run_jobs; "
        f"run_jobs([Job('one', [sys.executable, '-c', {WHY!r}])], [{{}}], print, print, SECONDS)"
    )
    late = subprocess.run([sys.executable, "-c", words.replace("SECONDS", "12.0")], cwd=ROOT,
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    assert "begun False" in late.stdout and "time is up: True" in late.stdout
    process = subprocess.Popen([sys.executable, "-c", words.replace("SECONDS", "600.0")], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    while not process.stdout.readline().startswith("begun"):
        pass
    os.kill(process.pid, signal.SIGINT)
    assert "time is up: False" in process.communicate(timeout=600)[0]


@pytest.mark.parametrize(("passed", "said"), [(True, "stopped: its time is up"), (False, "error:")])
def test_a_run_that_the_budget_stops_is_no_error(monkeypatch, capsys, tmp_path, passed, said):
    until = time.monotonic() + (-1 if passed else 600)
    monkeypatch.setenv(jobs.UNTIL_VARIABLE, str(until))
    screen = Terminal()
    screen.steps_seen = 7
    train._explain(130, deque(), screen, tmp_path / "train.log", None)
    out, err = capsys.readouterr()
    assert said in out + err and "goes on from the last checkpoint" in out + err
    assert ("error" in out + err) is not passed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_jobs_end_and_the_rest_does_not_start(number):
    process = start([(100, 0), (0, 0)], [{"CARD": "a"}])
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "a"
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=600)
    assert "job1" not in output
    assert output.strip().endswith("True")


def test_a_run_stands_on_the_plot_at_its_lowest_held_out_loss():
    points = [{"step": s, "held_out_loss": loss} for s, loss in ((0, 4.0), (2, 2.5), (4, 2.75))]
    assert dot({"lora_r": 8}, {"evaluations": points}) == Dot({"lora_r": 8}, 2.5, 4.0)
    assert dot({"lora_r": 8}, {"evaluations": []}) is None


@pytest.mark.parametrize(
    ("recipe", "settled"), [("smollm2-135m-qlora", True), ("smollm2-135m-dpo", False)]
)
def test_runs_on_preferences_are_not_settled_by_their_loss(
    monkeypatch, capsys, tmp_path, recipe, settled
):
    grid = grid_of(tmp_path, "lora_alpha: [8, 16]\nseeds: 2")
    runs = sweep_runs(RECIPE, grid, {})
    asked = []
    monkeypatch.setattr(closing, "is_finished", lambda run: True)
    monkeypatch.setattr(closing, "_compare", lambda *args: None)
    monkeypatch.setattr(closing, "_settle", lambda *args: asked.append(args))
    assert closing.close(load_recipe(recipe), grid, runs, JobsOutcome({}, False)) == 0
    assert bool(asked) == settled
    assert ("the loss over them changes with rl_beta" in capsys.readouterr().out) != settled


@pytest.mark.parametrize(
    ("takes", "words"),
    [(100.0, "hold about 3 of 4 runs"), (20.0, "hold all 4 runs"), (900.0, "hold about 1 of 4")],
)
def test_the_first_run_that_ends_tells_what_a_budget_holds(
    tmp_path, monkeypatch, capsys, takes, words
):
    grid = grid_of(tmp_path, "lora_r: [4, 8]\nlearning_rate: [1e-3, 1e-2]\n")
    runs = sweep_runs(RECIPE, grid, {})
    now = iter((10.0, 10.0 + takes))
    monkeypatch.setattr(sweep, "time", SimpleNamespace(monotonic=lambda: next(now)))

    def run_jobs(jobs, slots, announce, ended, seconds):
        for job in jobs:
            announce(job)
            ended(job, 0)
        return JobsOutcome({}, False)

    monkeypatch.setattr(sweep, "run_jobs", run_jobs)
    monkeypatch.setattr(sweep, "is_finished", lambda run: False)
    sweep._Trainer(RECIPE, runs, [{}], [], False, budget=330.0).train(runs)
    said = capsys.readouterr().out
    assert said.count("hold") == 1 and f"5 min 30 s {words}" in said
    few = "and there are 4 settings: some will have none. Two runs of each take BUDGET=14m"
    assert (few in said) == (takes == 100.0)


def test_settings_that_the_budget_left_without_a_run_are_named(tmp_path, monkeypatch, capsys):
    grid = grid_of(tmp_path, "lora_r: [4, 8, 16]\nseeds: 2")
    runs = sweep_runs(RECIPE, grid, {})
    done = runs[:1]
    monkeypatch.setattr(sweep, "is_finished", lambda run: run in done)
    monkeypatch.setattr(sweep, "_loss", lambda run: 2.0)
    monkeypatch.setattr(sweep, "close", lambda *args: 0)
    trainer = SimpleNamespace(train=lambda asked, seconds: JobsOutcome({}, False, late=True))
    assert sweep._race(RECIPE, grid, runs, trainer, 60.0) == 0
    said = capsys.readouterr().out
    assert "the budget is used: 1 of 6 runs" in said
    assert f"nothing is known of them: {runs[1].setting}; {runs[2].setting}" in said
