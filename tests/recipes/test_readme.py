"""Every command that the README gives is run by a test, or stands here with the reason it isn't."""

import ast
import os
import re
import subprocess

import pytest

from recipes.runner.core.recipe import ROOT, load_recipe

README = ROOT / "README.md"
# What runs it, as file::test; or why nothing does, in words.
COMMANDS = {
    "make talks RUN=x": (
        "tests/eval/test_eval_talks_run.py::test_the_command_holds_both_talks_and_writes_the_page"
    ),
    "make train RECIPE=smollm2-135m-qlora": (
        "tests/end_to_end/test_train.py::test_smollm2_learns_in_a_few_steps"
    ),
    "make test": ("it is what runs this test"),
    "make train RECIPE=falcon7b-qlora": (
        "tests/end_to_end/test_train.py::test_falcon_recipe_itself_trains_a_tiny_falcon"
    ),
    "make data RECIPE=smollm2-135m-qlora": (
        "tests/recipes/test_readme.py::test_make_check_plan_and_data"
    ),
    "make data DATASET=my_data": ("tests/recipes/test_readme.py::test_make_check_plan_and_data"),
    "make eval RECIPE=smollm2-135m-qlora": (
        "tests/eval/test_eval_end_to_end.py::test_one_trained_to_be_worse_is_said_to_be_worse"
    ),
    "make chat RECIPE=smollm2-135m-qlora": (
        "tests/eval/test_eval_chat_answers.py::test_the_same_answers_as_in_the_evaluation"
    ),
    "make check": ("tests/recipes/test_readme.py::test_make_check_plan_and_data"),
    "make plan RECIPE=X": ("tests/recipes/test_readme.py::test_make_check_plan_and_data"),
    "make plan RECIPE=X GPUS=8 STRATEGY=fsdp": (
        "tests/recipes/test_sharding.py::test_plan_shows_every_strategy"
    ),
    'make compare RUNS="a b"': (
        "tests/eval/test_eval_end_to_end.py::test_compare_puts_runs_side_by_side"
    ),
    "make sweep RECIPE=X SWEEP=small-data BUDGET=1h": (
        "tests/end_to_end/test_sweep_runs.py::test_a_sweep_over_folds_says_what_can_be_told"
    ),
    "make train RECIPE=smollm2-135m-dpo": (
        "tests/end_to_end/test_preferences.py::test_dpo_goes_on_from_the_sft_adapter_and_resumes"
    ),
    "make eval RUN=smollm2-135m-dpo AGAINST=smollm2-135m-quick": (
        "tests/eval/test_eval_end_to_end.py::test_another_run_stands_in_base_s_place"
    ),
    "make pairs RUN=x": (
        "tests/eval/test_eval_pairs.py::test_the_command_samples_and_writes_both_kinds"
    ),
    "make sweep RECIPE=X SWEEP=recipes/sweeps/rank.yaml": (
        "tests/recipes/test_sweep.py::test_axolotl_expands_the_grid"
    ),
    "make merge RUN=x": (
        "tests/eval/release/test_release_merge.py::test_merged_answers_as_base_and_adapter_and_its_proof_is_kept"
    ),
    "make serve RUN=x": (
        "tests/eval/release/test_release_serve.py::test_answers_are_those_of_eval"
    ),
    "make export RUN=x FORMAT=gguf TYPE=q8_0": (
        "tests/eval/release/test_release_export.py::test_the_file_is_read_back_and_kept"
    ),
    "make publish RUN=x REPO=user/name": (
        "tests/eval/release/test_release_publish.py::test_adapter_card_and_record_are_pushed_privately"
    ),
    "make bench RECIPE=falcon7b-qlora": (
        "it trains stock and ours for minutes, and means something on a GPU alone"
    ),
    "make labelled": ("tests/eval/test_eval_meaning.py::test_what_is_kept_is_what_is_measured"),
    "make help": ("tests/recipes/test_readme.py::test_make_help_names_every_target"),
    'make train RECIPE=falcon7b-qlora SET="lora_r=64 learning_rate=1e-4" RUN=r64': (
        "tests/recipes/test_overrides.py::test_values_are_read_as_yaml_and_numbers_as_people_write_them"
    ),
    "axolotl train recipes/falcon7b-qlora.yaml": (
        "tests/plugins/test_strict.py::test_options_of_axolotl_train_are_no_keys_of_the_recipe"
    ),
    "make train RECIPE=falcon7b-qlora GPUS=8": (
        "tests/recipes/test_strategy.py::test_all_visible_gpus_by_default"
    ),
    "make train RECIPE=falcon7b-qlora GPUS=8 NODES=4 NODE_RANK=0 MASTER=10.0.0.1:29500": (
        "tests/recipes/test_strategy.py::test_machines_reach_accelerate"
    ),
}


def commands_of(text: str) -> set[str]:
    """Commands in indented blocks, without their comments, and in backticks."""
    found = set(re.findall(r"^    ((?:make|axolotl) [^\n#]+?)\s*(?:#.*)?$", text, re.MULTILINE))
    return found | set(re.findall(r"`((?:make|axolotl) [^`]+)`", text))


def test_every_command_is_run_by_a_test_or_says_why_not():
    assert commands_of(README.read_text(encoding="utf-8")) == set(COMMANDS)


@pytest.mark.parametrize("where", sorted({c for c in COMMANDS.values() if "::" in c}))
def test_named_test_exists(where: str):
    file, name = where.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_file_and_picture_that_it_names_is_there():
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    for recipe in re.findall(r"RECIPE=([a-z0-9][\w.-]+)", text):
        load_recipe(recipe)


def make(*words: str) -> subprocess.CompletedProcess[str]:
    if not (ROOT / ".venv" / ".installed").exists():
        pytest.skip("no .venv, so make would start by setting one up")
    # Of the `make test ARGS=...` that runs these tests nothing goes to the make that they start.
    outer = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "ARGS"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_make_help_names_every_target():
    listed = make("help").stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert f"make {target} " in listed
    for command in COMMANDS:
        target = command.split()[1]
        for variable in re.findall(r"\b([A-Z_]+)=", command):
            line = next(
                line for line in listed.splitlines() if line.startswith(f"  make {target} ")
            )
            assert f"{variable}=" in line, command


def test_make_check_plan_and_data():
    checked = make("check")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("ok") >= 10
    planned = make("plan", "RECIPE=falcon7b-qlora")
    assert planned.returncode == 0 and "GiB" in planned.stdout
    made = make("data", "RECIPE=smollm2-135m-qlora")
    assert made.returncode == 0, made.stderr
    unknown = make("data", "DATASET=mental_health_suport")
    assert unknown.returncode != 0
    assert "mental_health_support" in unknown.stderr and "Traceback" not in unknown.stderr


def test_unknown_recipe_names_the_nearest():
    for target in ("train", "check", "plan", "data", "eval"):
        refused = make(target, "RECIPE=falcon7b-qlorra")
        assert refused.returncode != 0
        assert "Did you mean falcon7b-qlora?" in refused.stderr, target
        assert "Traceback" not in refused.stderr
