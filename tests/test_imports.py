"""Imports run down only: between packages, between the runner's floors, never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("recipes", "datasets_prep", "plugins", "eval")
"""From the ground up: each may import itself and those before it."""
FLOORS = (("core",), ("run", "models"), ("estimate",), ("launch", "check"), ("sweep",))
"""Of `recipes/runner`, from the ground up; `setup` stands alone and imports nothing."""


def modules() -> dict[str, Path]:
    """Every module of the four packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, source: str) -> set[str]:
    """The modules of the four packages that a source imports, lazy and conditional imports too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports by a relative name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else str(node.module))
    return {module for module in found if module.split(".")[0] in PACKAGES}


def floor(module: str) -> int | None:
    parts = module.split(".")
    if parts[:2] != ["recipes", "runner"] or len(parts) < 3:
        return None
    return next((n for n, names in enumerate(FLOORS) if parts[2] in names), None)


def fault(importer: str, imported: str) -> str | None:
    """Why ``importer`` must not import ``imported``; None when it may."""
    upper, lower = importer.split(".")[0], imported.split(".")[0]
    if PACKAGES.index(lower) > PACKAGES.index(upper):
        return f"{importer} imports {imported}, of a package above its own"
    above, below = floor(importer), floor(imported)
    if above is not None and below is not None and below > above:
        return f"{importer} imports {imported}, of a floor above its own"
    if importer.startswith("recipes.runner.") and not imported.startswith("recipes.runner"):
        return f"{importer} imports {imported}, which stands on the runner"
    return None


GRAPH = {name: imports(name, path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def test_every_module_was_read() -> None:
    assert len(MODULES) > 150
    assert "recipes.runner.core.recipe" in GRAPH["eval.evaluate"] | GRAPH["eval.__main__"]


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_imports_run_down(name: str) -> None:
    faults = [found for imported in sorted(GRAPH[name]) if (found := fault(name, imported))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("recipes.runner.core.recipe", "eval.compare"),
        ("datasets_prep.filters", "plugins.inputs"),
        ("plugins.terminal", "eval.release.card"),
        ("recipes.runner.core.recipe", "recipes.runner.estimate.plan"),
        ("recipes.runner.run.folder", "recipes.runner.launch.train"),
        ("recipes.runner.check.check", "recipes.__main__"),
    ],
)
def test_one_that_runs_up_is_refused(importer: str, imported: str) -> None:
    assert fault(importer, imported)


def test_lazy_imports_are_read() -> None:
    source = "def f():\n    if True:\n        from eval.compare import flat\n"
    assert imports("x", source) == {"eval.compare"}


def test_no_circle_of_files() -> None:
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        if name in path:
            pytest.fail("a circle: " + " -> ".join([*path[path.index(name) :], name]))
        if name in done:
            return
        path.append(name)
        for imported in sorted(GRAPH.get(name, set())):
            # Whoever imports a package's own __init__ from inside it is no circle of two files.
            if imported != name:
                visit(imported)
        path.pop()
        done.add(name)

    for name in sorted(GRAPH):
        visit(name)


def test_no_file_and_folder_of_one_name() -> None:
    both = [
        str(path.relative_to(ROOT))
        for path in MODULES.values()
        if path.name != "__init__.py" and path.with_suffix("").is_dir()
    ]
    assert not both


def test_recipes_is_a_menu() -> None:
    python = {path.name for path in (ROOT / "recipes").glob("*.py")}
    assert python == {"__init__.py", "__main__.py"}
    folders = {path.name for path in (ROOT / "recipes").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == {
        "accelerate", "architectures", "chat_templates", "launch", "sweeps", "runner",
    }  # fmt: skip
