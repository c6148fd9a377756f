"""Faults put into a shipped recipe, one at a time: each is refused or warned of, by its key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recipes.runner.check.check import problems_of, quiet
from recipes.runner.check.hints import plugin_of_key
from recipes.runner.check.keys import Report, inspect_recipe
from recipes.runner.check.schema import plugin_models
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import find_recipe, load_recipe, recipe_paths
from recipes.runner.core.yaml_file import read_yaml

RECIPE = load_recipe("falcon7b-qlora").path.read_text(encoding="utf-8")


def report(folder: Path, text: str) -> Report:
    path = folder / "changed.yaml"
    path.write_text(text, encoding="utf-8")
    file = read_yaml(path, "")
    with quiet():
        return inspect_recipe(file.content, file)


def changed(key: str, value: str) -> str:
    """The recipe with another value for a key, the first of its name, or with the key added."""
    written = rf"^(\s*(?:- )?){re.escape(key)}:.*$"
    if key in ("plugins", "datasets"):
        written += r"(\n  .*$|\n$)*"  # the list below it too
    text, count = re.subn(written, rf"\g<1>{key}: {value}", RECIPE, count=1, flags=re.M)
    return text if count else f"{RECIPE}{key}: {value}\n"


REFUSED = """
lora_r: -8 | is -8: must be 1 or more
lora_r: 0 | must be 1 or more
lora_r: 010 | YAML reads 010 as 8
lora_r: 1:30 | YAML reads 1:30 as 90
lora_r: | is empty, and the adapter needs it
lora_r: eight | is 'eight', which is no whole number
lora_r: true | is true, which is no whole number
lora_r: 2024-01-02 | YAML reads 2024-01-02 as a date
lora_alpha: -1 | must not be negative
lora_dropout: 1.5 | 0 or more and less than 1
lora_dropout: 1 | 0 or more and less than 1
lora_dropout: -0.1 | 0 or more and less than 1
gradient_accumulation_steps: 0 | must be 1 or more
gradient_accumulation_steps: 100000 | 0 whole optimizer steps
micro_batch_size: 0 | must be 1 or more
micro_batch_size: 1.5 | fractional part
eval_batch_size: 0 | must be 1 or more
sequence_len: 0 | must be 1 or more
num_epochs: 0 | trains 0 steps
num_epochs: -1 | trains 0 steps
num_epochs: .nan | no number to train with
learning_rate: 0 | trains nothing
learning_rate: -1.0e-4 | trains nothing
learning_rate: .inf | no number to train with
learning_rate: fast | is 'fast'
learning_rate: | is empty
warmup_ratio: 5 | less than 1
warmup_ratio: -0.1 | 0 or more
weight_decay: -0.1 | must not be negative
max_grad_norm: -1 | must not be negative
adam_beta1: 1.5 | less than 1
max_steps: 0 | trains 0 steps
max_steps: -5 | trains 0 steps
seed: -1 | must lie between
val_set_size: 1.5 | neither a share below 1 nor a number of rows
logging_steps: 0 | must be 1 or more
save_total_limit: -1 | must not be negative
lora_target_modules: [q_proj] | matches no layer of this model. Its layers: dense
lora_target_modules: [querykey_value, dense] | Did you mean query_key_value?
lora_target_modules: [self_attention] | which can't have an adapter
lora_target_modules: ".*dens" | matches no layer
lora_target_modules: "(" | is no regular expression
lora_target_modules: [] | no layer gets an adapter
lora_modules_to_save: [lm_hed] | Did you mean lm_head?
lora_rank_pattern: {q_proj: 8} | matches no layer
lora_alpha_pattern: {dense_h_to_4: 8} | Did you mean dense_h_to_4h?
lora_rank_pattern: {dense: 0} | greater than 0
peft_layers_to_transform: [31, 32] | there is no layer 32
lr_scheduler: cosin | Did you mean cosine?
type_of_model: FalconForCausalML | Did you mean FalconForCausalLM?
optimizer: adamw_8bitt | there is no optimizer adamw_8bitt
eval_strategy: stepz | Did you mean steps?
eval_strategy: no | YAML reads no as false
save_strategy: epochs | Did you mean epoch?
hub_strategy: every_sav | Did you mean every_save?
ds_type: jsn | Did you mean json?
type: chat_templat | Did you mean chat_template?
split: trian | a local file is one split
roles_to_train: [asistant] | Did you mean assistant?
roles_to_train: [user] | the assistant's answers are not trained
roles_to_train: [] | no token is trained
train_on_eos: none | the end is never learnt
train_on_eos: nne | Did you mean none?
metric_for_best_model: evl_loss | Did you mean eval_loss?
bnb_4bit_quant_type: nf5 | Did you mean nf4?
bnb_4bit_use_double_quant: maybe | bnb_4bit_use_double_quant must be
eos_token: "<|eotext|>" | Did you mean <|endoftext|>?
pad_token: "<|endoftext|>" | the end is masked as padding
chat_template_jinja: recipes/chat_templates/falcon.jnja | Did you mean recipes/chat_templates/falcon
chat_template: jinjja | Did you mean jinja?
base_model: tiiuae/falcon-7bb | Did you mean tiiuae/falcon-7b?
base_model: models/missing | there is no models/missing
base_model: | is empty
tokenizer_config: tok/missing | neither a folder here
resume_from_checkpoint: runs/nope/checkpoint-5 | there is no runs/nope/checkpoint-5
path: data/mental_health_suport/train.jsonl | can be made
field_messages: messags | the rows have no messags
lr_scheduler_kwargs: {num_cycls: 2} | Did you mean num_cycles?
optim_args: {bta1: 0.9} | adam_beta1
optim_args: beta | key=value
accelerator_config: {even_batchs: false} | Did you mean even_batches?
deepspeed: {zero_optimizaton: {stage: 2}} | Did you mean zero_optimization?
deepspeed: {zero_optimization: {stge: 2}} | Did you mean stage?
deepspeed: {zero_optimization: {stage: 5}} | ZeRO has the stages 0 to 3
deepspeed: recipes/accelerate/zero9.json | there is no recipes/accelerate/zero9.json
gradient_checkpointing_kwargs: {use_reentrnt: false} | Did you mean use_reentrant?
overrides_of_model_config: {hidden_siz: 3} | Did you mean hidden_size?
chat_template_kwargs: {thinking: true} | no such variable
per_device_train_batch_size: 4 | Axolotl's name for it is micro_batch_size
max_seq_length: 2048 | Axolotl's name for it is sequence_len
alpha: 16 | Axolotl's name for it is lora_alpha
target_modules: [dense] | Axolotl's name for it is lora_target_modules
num_train_epochs: 3 | Axolotl's name for it is num_epochs
Learning-Rate: 3 | Did you mean learning_rate?
bnb_4bit_compute_dtype: bfloat16 | It belongs into bnb_config_kwargs
roles_to_trian: [assistant] | unknown key
message_property_mappings: {role: from} | unknown key. It belongs into an entry of datasets
liger_rope: true | name that under plugins
cut_cross_entropy: true | axolotl.integrations.cut_cross_entropy
early_stopping_patience: -1 | must not be negative
adapter: qlor | Did you mean qlora?
bf16: flase | Did you mean false?
fsdp_version: 3 | FSDP has the versions 1 and 2
fsdp_config: {transformer_layer_cls_to_wrap: FalconDecoderLyer} | Did you mean FalconDecoderLayer?
min_sample_len: 100000 | every row is dropped
peft_init_lora_weights: gausian | Did you mean gaussian?
lora_modules_to_save: [dense] | is in lora_target_modules too
torch_compile_backend: inductr | Did you mean inductor?
wandb_log_model: chekpoint | Did you mean checkpoint?
overrides_of_model_config: {num_hidden_layers: many} | which is no number
gradient_checkpointing_kwargs: {use_reentrant: maybe} | no true or false
deepspeed: {stage: 2} | It belongs into zero_optimization
chat_template_jinja: "{{ messages" | the template can't be read
chat_template_jinja: recipes/chat_templates | there is no recipes/chat_templates
split: train[:0%] | takes no row
path: | is missing
eos_token: "" | is empty
bos_token: "<s>" | It belongs into special_tokens
base_model_config: tiiuae/falcon-7bb | Did you mean tiiuae/falcon-7b?
optimizer: AdamW | Did you mean adamw_torch_fused?
lr_scheduler: linear_with_warmup | Did you mean linear?
save_steps: 7 | multiple of eval_steps
eval_steps: 100000 | it never evaluates
plugins: [json.JSONDecoder] | is no plugin of Axolotl's
plugins: [plugins.falcon] | there is no plugin
plugins: 3 | which is no list
datasets: 3 | which is no list
datasets: [3] | no mapping
datasets: {path: x} | which is no list
""".strip().splitlines()

WARNED = """
lora_alpha: 0 | trains nothing
learning_rate: 10 | far from what trains
learning_rate: 1.0e-9 | far from what trains
early_stopping_patience: 0 | no early stopping
early_stopping_patience: 1000 | it can't act
sequence_len: 8192 | the model was made for 2,048
adapter: lora | quantises to 4 bits for qlora alone
greater_is_better: true | keeps the worst checkpoint
max_steps: 100 | num_epochs: is not read
weight_decay: 5 | usual are 0 to 0.1
logging_steps: 100000 | no loss is logged
lora_r: 100000 | so that is no low rank
save_total_limit: 0 | keeps 4
num_epochs: 1000 | usual are 1 to 10
fp16: true | one of them is not obeyed
lora_fan_in_fan_out: true | only GPT-2
metric_for_best_model: eval_accuracy | is none that Axolotl's trainer measures
lr_div_factor: 3 | nothing of it reads the key
""".strip().splitlines()

NOTED = """
learning_rate: 2e-4 | YAML reads 2e-4 as text, and Axolotl takes it for 0.0002. Write 2.0e-4
num_epochs: 1e1 | Axolotl takes it for 10
path: org/does-not-exist | can't be looked up from here
evaluation_strategy: steps | which Axolotl reads as eval_strategy
excess_length_strategy: drop | are dropped, with one line in the log
""".strip().splitlines()

PASSES = """
metric_for_best_model: loss
lora_target_linear: true
lora_target_modules: all-linear
lora_target_modules: ".*(dense|query_key_value)"
lora_target_modules: [self_attention.dense, "transformer.h.3.mlp.dense_h_to_4h"]
lora_modules_to_save: [word_embeddings, lm_head]
lora_rank_pattern: {dense: 8, "h.0.mlp.dense_h_to_4h": 4}
peft_layers_to_transform: [0, 31]
attn_implementation: eager
lora_r: 0x10
jagged_restart_anneal_steps: false
optim_args: {}
accelerator_config: {even_batches: false}
deepspeed: {zero_optimization: {stage: 2}, bf16: {enabled: auto}}
deepspeed: recipes/accelerate/zero2.json
optimizer: adafactor
lr_scheduler: rex
lr_scheduler_kwargs: {num_cycles: 0.4}
split: train[:90%]
seed: 0
pad_token: ">>PREFIX<<"
""".strip().splitlines()


def split(line: str) -> tuple[str, str, str]:
    edit, _, words = line.partition(" | ")
    key, _, value = edit.partition(":")
    return key, value.strip(), words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("check")


@pytest.mark.parametrize("line", REFUSED)
def test_refused(folder: Path, line: str) -> None:
    key, value, words = split(line)
    found = [str(error) for error in report(folder, changed(key, value)).errors]
    assert any(words in error for error in found), found
    assert any(key in error and re.search(r"changed\.yaml:\d+: ", error) for error in found), found
    assert not [error for error in found if "\n" in error or len(error) > 420]


@pytest.mark.parametrize("line", WARNED)
def test_warned_of(folder: Path, line: str) -> None:
    key, value, words = split(line)
    found = report(folder, changed(key, value))
    assert not found.errors
    warnings = [str(warning) for warning in found.warnings]
    assert any(words in warning for warning in warnings), warnings


@pytest.mark.parametrize("line", NOTED)
def test_said(folder: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    key, value, words = split(line)
    found = report(folder, changed(key, value))
    assert not found.errors and not found.warnings
    assert any(words in str(note) for note in found.notes), found.notes


@pytest.mark.parametrize("line", PASSES)
def test_passes(folder: Path, line: str) -> None:
    key, value, _ = split(line)
    found = report(folder, changed(key, value))
    assert not found.errors and not found.warnings, (found.errors, found.warnings)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  - plugins.falcon.FalconPlugin ", "  # ", "packs wrongly"),
        (
            "    roles_to_train: [assistant]",
            "    roles: {asistant: [gpt]}\n    roles_to_train: [assistant]",
            "role asistant is trained by nobody",
        ),
        ("support/validation.jsonl", "support/train.jsonl", "is what datasets[0] trains on"),
        ("  - plugins.packing.PackingPlugin ", "  # ", "does not name plugins.packing"),
        ("seed: 42", "rl: dpo\nseed: 42", "datasets[0].ds_type: Axolotl drops it under this rl"),
        ("seed: 42", "seed: 42\nlora_r: 8", "lora_r: is given twice"),
        ("seed: 42", "x: &x {sed: 1}\n<<: *x", "sed: unknown key"),
        ("lora_alpha: 32", "", "adapter: needs lora_alpha, which is not there"),
        ("load_in_4bit: true", "load_in_4bit: false", "load_in_4bit: Require cfg.load_in_4bit"),
        ("early_stopping_patience: 3", "saves_per_epoch: 2", "saves_per_epoch"),
        (
            "load_in_4bit: true",
            "load_in_4bit: true\nload_in_8bit: true",
            "Can't load qlora in 8bit",
        ),
    ],
)
def test_refused_in_combination(folder: Path, old: str, new: str, words: str) -> None:
    assert old in RECIPE
    found = [str(error) for error in report(folder, RECIPE.replace(old, new)).errors]
    assert any(words in error for error in found), found


def test_rows_that_are_trained_on_twice(folder: Path) -> None:
    start, end = RECIPE.index("  - path: data/"), RECIPE.index("test_datasets:")
    found = report(folder, RECIPE[:end] + RECIPE[start:end] + RECIPE[end:])
    assert not found.errors
    assert any("datasets[1].path: is datasets[0] again" in str(w) for w in found.warnings)


def test_a_warm_up_longer_than_the_run(folder: Path) -> None:
    found = report(folder, RECIPE.replace("warmup_ratio: 0.05", "warmup_steps: 100000"))
    assert not found.errors
    assert any("the learning rate is never reached" in str(w) for w in found.warnings)


def test_without_validation_nothing_can_stop_or_choose(folder: Path) -> None:
    start, end = RECIPE.index("test_datasets:"), RECIPE.index("dataset_prepared_path")
    found = report(folder, RECIPE[:start] + RECIPE[end:])
    places = {place[0] for place in found.places}
    assert places == {"early_stopping_patience", "load_best_model_at_end"}
    assert any("no validation data" in str(warning) for warning in found.warnings)


def test_a_value_from_the_command_line_is_named_as_one(folder: Path) -> None:
    file = read_yaml(load_recipe("falcon7b-qlora").path, "")
    with quiet():
        (error,) = inspect_recipe({**file.content, "lora_r": -1}, file).errors
    assert str(error).startswith("command line (SET=): lora_r: is -1")


def test_every_recipe_passes_without_a_word(folder: Path) -> None:
    assert not report(folder, RECIPE).errors
    assert not report(folder, RECIPE).warnings
    assert not report(folder, RECIPE).notes


def test_a_key_without_its_plugin_names_it() -> None:
    """Every key that a plugin of a shipped recipe adds is known to the hint."""
    names = {name for path in recipe_paths() for name in load_recipe(path).config["plugins"]}
    keys = {
        key: name
        for name in names
        if name.startswith("plugins.")
        for model in plugin_models(name)
        for key in model.model_fields
    }
    assert {"falcon", "overfitting_watch"} <= set(keys)
    assert {key: plugin_of_key(key) for key in keys} == keys


def test_a_plugin_may_add_a_metric(folder: Path) -> None:
    text = changed("metric_for_best_model", "eval_sound_answers_loss")
    assert report(folder, text).warnings
    plugin = "  - plugins.answers.AnswersPlugin\n  - plugins.terminal.TerminalPlugin"
    text = text.replace("  - plugins.terminal.TerminalPlugin", plugin)
    assert "AnswersPlugin" in text and not report(folder, text).warnings


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("use_peft", "Axolotl's name for it is adapter"),
        ("hub_repo", "Axolotl's name for it is hub_model_id"),
        ("push_to_hub", "Axolotl's name for it is hub_model_id"),
        ("lora_bias", "Axolotl trains no biases with an adapter: remove it"),
        ("do_train", "axolotl train trains, whatever stands here: remove it"),
        ("task_type", "Axolotl sets it by itself: remove it"),
        ("logging_dir", "Axolotl logs into output_dir: remove it"),
        ("unsloth_lora_mlp", "Axolotl has lora_mlp_kernel, lora_qkv_kernel and lora_o_kernel"),
        ("lora_alfa", "Did you mean lora_alpha?"),
        ("peft: {rank_patern: {q_proj: 8}}", "It belongs to the top, as lora_rank_pattern"),
        ("fsdp_config: {fsdp_limit_all_gathers: true}", "FSDP2 does it by itself"),
        ("fsdp_config: {fsdp_sharding_strategy: FULL_SHARD}", "Write reshard_after_forward: true"),
    ],
)
def test_a_key_of_another_library_is_told_once(folder: Path, key: str, said: str) -> None:
    found = report(folder, RECIPE + (key if ":" in key else f"{key}: true") + "\n")
    errors = [str(error) for error in found.errors if key.split(":")[0] in str(error)]
    assert len(errors) == 1 and said in errors[0], errors
    assert not [note for note in found.notes if "old spelling" in str(note)]


def test_a_tab_is_named(folder: Path) -> None:
    path = folder / "tab.yaml"
    path.write_text("base_model: a\nspecial_tokens:\n\tpad_token: x\n", encoding="utf-8")
    (problem,) = problems_of(path)
    assert "a tab stands there. Indent with spaces" in str(problem)
    assert f"{path.name}:3" in str(problem)


def test_a_folder_is_no_file() -> None:
    with pytest.raises(UserError, match="is a folder"):
        find_recipe("recipes/accelerate")


def test_a_misspelt_rl_is_told_alone(folder: Path) -> None:
    """What stands below it is neither for SFT nor for another."""
    errors = [str(error) for error in report(folder, f"{RECIPE}rl: ppo\n").errors]
    assert [error for error in errors if "rl: there is no rl ppo" in error]
    assert not [error for error in errors if "kind of data set" in error]
