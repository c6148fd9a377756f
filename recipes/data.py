"""`make data`: the data set that a recipe names."""

from __future__ import annotations

from recipes.errors import UserError
from recipes.recipe import Recipe, display_path


def make_data(recipe: Recipe) -> int:
    """Make the recipe's data set, saying where it is.

    Raises:
        UserError: the recipe reads data that is not made here, or the definition is wrong.
    """
    if recipe.dataset is None:
        raise UserError(
            "its data is not in data/<dataset>/, so there is nothing to make",
            display_path(recipe.path),
            "Name data/<dataset>/train.jsonl under datasets",
        )
    from datasets_prep import prepare

    folder = prepare(recipe.dataset, recipe=recipe.path, quiet=False)
    print(f"Card: {display_path(folder / 'card.html')}   Next: make train RECIPE={recipe.name}")
    return 0
