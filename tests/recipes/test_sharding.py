"""Every recipe under every strategy: launched as the libraries read it, or refused in words."""

import importlib
import importlib.util

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, patch_environment
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from recipes.runner.check.check import problems_with
from recipes.runner.core.errors import UserError
from recipes.runner.core.overrides import apply, as_flags
from recipes.runner.core.recipe import ROOT, Recipe, load_recipe, recipe_paths, strategy_of
from recipes.runner.estimate.memory import GIB, estimate
from recipes.runner.estimate.plan import needed_bytes, plan_lines
from recipes.runner.estimate.sharding import (
    FOLDER,
    STRATEGIES,
    refuse_uninstalled,
    strategy_settings,
)
from recipes.runner.estimate.shards import estimate_shared, loading_bytes
from recipes.runner.launch import strategy
from recipes.runner.launch.strategy import Wanted, plan_launch, plan_spread
from recipes.runner.models.architecture import architecture
from recipes.runner.models.families import FAMILIES

RECIPES = [load_recipe(path.stem) for path in recipe_paths()]


@pytest.fixture
def launched(monkeypatch):
    """The environment that accelerate gives the ranks of two GPUs, by strategy."""
    monkeypatch.setattr(strategy, "count_gpus", lambda: 2)
    monkeypatch.chdir(ROOT)

    def environment(name):
        flags = plan_launch(Wanted(gpus="2", strategy=name)).flags
        args = launch_command_parser().parse_args([*flags, "-m", "axolotl.cli.train"])
        args, defaults, names_precision = _validate_launch_command(args)
        if args.use_deepspeed:
            assert not names_precision  # accelerate refuses it beside a DeepSpeed file
            fields = ",".join(defaults.deepspeed_config)
            args.deepspeed_fields_from_accelerate_config = fields
            return prepare_deepspeed_cmd_env(args)[1]
        assert args.multi_gpu or args.use_fsdp
        return prepare_multi_gpu_env(args)

    return environment


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_strategy_passes_axolotls_validation_with_every_recipe(recipe):
    for name in STRATEGIES:
        if name == "fsdp" and recipe.config.get("rl"):  # of a 4-bit base, refused below
            continue
        config = apply(recipe.config, strategy_settings(name, recipe.config, {}))
        assert strategy_of(config) == name
        problems = problems_with(Recipe(recipe.name, recipe.path, config))
        assert problems == [], (name, [str(problem) for problem in problems])


@pytest.mark.parametrize(
    ("name", "changes", "given", "words"),
    [
        (
            "fsdp",
            {"load_in_4bit": False, "load_in_8bit": True},
            {},
            "8-bit base .*STRATEGY=zero2 or ddp",
        ),
        (
            "zero3",
            {"load_in_4bit": False, "load_in_8bit": True},
            {},
            "8-bit base .*STRATEGY=zero2 or ddp",
        ),
        (
            "fsdp",
            {"optimizer": "paged_adamw_8bit"},
            {"optimizer": "paged_adamw_8bit"},
            "adamw_torch_fused, or STRATEGY=zero2",
        ),
        ("fsdp", {"rl": "dpo"}, {}, "4-bit base under rl: dpo .*STRATEGY=zero2 or ddp"),
        ("fsdp", {"rl": "orpo"}, {}, "4-bit base under rl: orpo .*STRATEGY=zero2 or ddp"),
        ("zero2", {"deepspeed": "recipes/accelerate/zero3.json"}, {}, "has deepspeed of its own"),
        ("zero3", {"fsdp_config": {"offload_params": True}}, {}, "has fsdp_config of its own"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_that_can(name, changes, given, words):
    config = {**load_recipe("falcon7b-qlora").config, **changes}
    with pytest.raises(UserError, match=words):
        strategy_settings(name, config, given)


def test_fsdp_takes_a_4_bit_base_where_axolotl_does():
    config = {**load_recipe("falcon7b-qlora").config, "rl": "grpo"}
    assert strategy_settings("fsdp", config, {})["fsdp_version"] == 2


def test_fsdp_refuses_a_family_whose_block_it_does_not_know(monkeypatch):
    monkeypatch.delitem(FAMILIES, "falcon")
    with pytest.raises(UserError, match=r"set up for falcon models .* STRATEGY=zero3 or ddp"):
        strategy_settings("fsdp", load_recipe("falcon7b-lora").config, {})


def test_deepspeed_that_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="make setup EXTRAS=deepspeed"):
        refuse_uninstalled("zero2")
    refuse_uninstalled("fsdp")


@pytest.mark.parametrize(("family", "block"), [(f.model_type, f.block) for f in FAMILIES.values()])
def test_blocks_are_those_of_transformers(family, block):
    folder = family.removesuffix("_text")
    module = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
    base = next(
        kind
        for name, kind in vars(module).items()
        if name.endswith("PreTrainedModel") and kind.__module__ == module.__name__
    )
    assert block in base._no_split_modules


def test_packed_weights_travel_in_a_dtype_that_nobody_casts():
    storage = "bnb_config_kwargs.bnb_4bit_quant_storage"
    bf16 = load_recipe("falcon7b-qlora").config
    fp16 = load_recipe("falcon7b-qlora-16gb-fp16").config
    assert strategy_settings("zero3", bf16, {})[storage] == "bfloat16"
    assert strategy_settings("zero3", bf16, {})["bf16"] is True
    assert strategy_settings("zero3", fp16, {})[storage] == "float16"
    for name in ("zero2", "fsdp"):
        assert strategy_settings(name, bf16, {})[storage] == "uint8"
    assert storage not in strategy_settings("zero3", load_recipe("falcon7b-lora").config, {})


def test_settings_reach_axolotl_as_flags():
    settings = strategy_settings("fsdp", load_recipe("falcon7b-lora").config, {})
    flags = as_flags(settings)
    assert "--fsdp_version=2" in flags
    assert "--fsdp_config__transformer_layer_cls_to_wrap='FalconDecoderLayer'" in flags


def test_accelerate_starts_fsdp2_as_axolotl_is_told(launched):
    environment = launched("fsdp")
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    settings = strategy_settings("fsdp", load_recipe("falcon7b-lora").config, {})
    assert environment["FSDP_VERSION"] == str(settings["fsdp_version"])
    for key, value in settings.items():
        name = f"FSDP_{key.removeprefix('fsdp_config.').upper()}"
        if key.startswith("fsdp_config.") and name in environment:
            assert environment[name].lower() == str(value).lower(), key


@pytest.mark.parametrize("stage", [2, 3])
def test_accelerate_starts_deepspeed_with_its_file(launched, stage):
    environment = launched(f"zero{stage}")
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    file = environment["ACCELERATE_DEEPSPEED_CONFIG_FILE"]
    assert (
        file
        == strategy_settings(f"zero{stage}", load_recipe("falcon7b-lora").config, {})["deepspeed"]
    )
    with patch_environment(**environment):
        plugin = DeepSpeedPlugin()
    assert plugin.zero_stage == stage
    assert plugin.zero3_init_flag == (stage == 3)
    assert plugin.offload_optimizer_device == plugin.offload_param_device == "none"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.name)
def test_deepspeed_reads_its_files(file, monkeypatch):
    pytest.importorskip("deepspeed", reason="make setup EXTRAS=deepspeed installs it")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    from deepspeed.runtime.config import DeepSpeedConfig

    content = yaml.safe_load(file.read_text())  # JSON is YAML
    zero = content["zero_optimization"]
    # The Trainer fills these in from the recipe and the model.
    filled = {
        **content,
        "gradient_clipping": 1.0,
        "gradient_accumulation_steps": 4,
        "train_micro_batch_size_per_gpu": 1,
        "train_batch_size": 4,
        "bf16": {"enabled": True},
        "fp16": {"enabled": False},
        "zero_optimization": {
            key: 10_000_000 if value == "auto" else value for key, value in zero.items()
        },
    }
    read = DeepSpeedConfig(filled)
    assert read.zero_optimization_stage == zero["stage"]
    fields = type(read.zero_config).model_fields
    assert set(zero) <= set(fields) | {field.alias for field in fields.values()}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.name)
def test_accelerate_reads_its_files(file):
    assert load_config_from_file(str(file)).num_processes >= 1


@pytest.mark.parametrize("name", ["falcon7b-qlora", "falcon7b-lora"])
def test_more_is_parted_from_strategy_to_strategy(name):
    config = load_recipe(name).config
    shape = architecture(config["base_model"])
    alone = estimate(config, shape)
    ddp, zero2, zero3 = (estimate_shared(config, shape, s, 8) for s in ("ddp", "zero2", "zero3"))
    assert ddp.weights == zero2.weights == alone.weights
    # DeepSpeed holds the adapter in 16 bits and steps a float32 copy, which is in shards.
    assert zero2.adapters == alone.adapters / 2 and zero2.gradients == alone.gradients / 16
    assert zero2.optimizer == (alone.optimizer + alone.adapters) / 8
    assert ddp.gradients == 2 * alone.gradients
    assert alone.weights / 8 < zero3.weights < alone.weights
    assert zero3.total < zero2.total < ddp.total
    assert estimate_shared(config, shape, "fsdp", 1) == estimate_shared(config, shape, "ddp", 1)
    whole_first = loading_bytes(config, shape, "fsdp")
    assert (whole_first > alone.weights) == bool(config.get("load_in_4bit"))


def test_plan_shows_every_strategy():
    recipe = load_recipe("falcon7b-lora")
    text = "\n".join(plan_lines(recipe, recipe.config, 8, "zero3"))
    assert "Memory on each of 8 cards (zero3)" in text
    for name in STRATEGIES:
        assert any(line.split()[:1] == [name] for line in text.splitlines())
    assert "Tokens a step     32,768" in text
    eight_bit = {**recipe.config, "load_in_8bit": True}
    text = "\n".join(plan_lines(recipe, eight_bit, 8, "ddp"))
    assert "fsdp        refused: load_in_8bit" in text
    assert plan_spread(Wanted(gpus="8", strategy="fsdp")) == (8, "fsdp")
    with pytest.raises(UserError, match="shares a model between GPUs, and this run has 1"):
        plan_spread(Wanted(strategy="fsdp"))


def test_preflight_counts_a_share_where_weights_are_parted(monkeypatch):
    from recipes.runner.estimate import preflight

    asked = []
    monkeypatch.setattr(preflight, "count_gpus", lambda: 2)
    monkeypatch.setattr(
        preflight, "_memory_problems", lambda config, memory, _: asked.append(memory) or []
    )
    monkeypatch.setattr(preflight, "_dtype_problems", lambda config: [])
    monkeypatch.setattr(preflight, "_model_problems", lambda config: [])
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe = load_recipe("falcon7b-lora").config
    for name in ("ddp", "fsdp"):
        preflight.find_problems(apply(recipe, strategy_settings(name, recipe, {})))
    ddp, fsdp = asked
    assert ddp.total > 14 * GIB > fsdp.total


def test_readme_shows_the_memory_that_plan_predicts():
    text = (ROOT / "recipes" / "launch" / "README.md").read_text(encoding="utf-8")
    cases = []
    for base in ("tiiuae/falcon-7b", "tiiuae/falcon-40b"):
        for name in ("falcon7b-qlora", "falcon7b-lora"):
            cases.append({**load_recipe(name).config, "base_model": base})
    for name in STRATEGIES:
        cells = [
            needed_bytes(config, architecture(config["base_model"]), name, 8) / GIB
            for config in cases
        ]
        row = f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |"
        assert row in text
