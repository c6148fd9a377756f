import pytest

from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import nearest
from recipes.runner.core.recipe import load_recipe
from recipes.runner.estimate.gpu import count_gpus
from recipes.runner.estimate.preflight import find_problems


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean falcon7b-qlora"):
        load_recipe("falcon7b-qlra")


def test_broken_yaml_names_its_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("base_model: x\nlora_r: [1, 2\nseed: 3\n")
    with pytest.raises(UserError, match=r"broken\.yaml:3: can't be read as YAML"):
        load_recipe(path)


def test_data_set_is_the_folder_under_data():
    assert load_recipe("falcon7b-qlora").dataset == "mental_health_support"


@pytest.mark.skipif(count_gpus() > 0, reason="there is a GPU here")
def test_without_a_gpu_one_message_says_what_works():
    (problem,) = find_problems(load_recipe("falcon7b-qlora").config)
    assert "no CUDA GPU here" in str(problem)
    assert "make train RECIPE=smollm2-135m-qlora" in str(problem)


def test_small_model_passes_on_a_cpu():
    assert find_problems(load_recipe("smollm2-135m-qlora").config) == []


def test_of_equally_near_names_the_one_with_the_same_letters():
    assert nearest("train_on_eso", ["train_on_eot", "train_on_eos"]) == "train_on_eos"
    assert nearest("zzz", ["train_on_eot"]) is None
