"""Compare: `python -m plugins.falcon.benchmark --recipe falcon7b-qlora`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from plugins.falcon.benchmark import cases as bench_cases
from plugins.falcon.benchmark import report, stand_in
from plugins.falcon.benchmark.cases import RESULT_VARIABLE, WARM_UP_VARIABLE
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.recipe import ROOT, Recipe, display_path, load_recipe

OWN_DATA = ROOT / "datasets_prep" / "definitions" / "mental_health_support.jsonl"
SHORT_PAIRS = 172  # as many as the mental health chatbot data set that small Falcons are shown on
WARM_UP = 6  # kernels are compiled and buffers found in these steps


def main() -> int:
    """Run the cases one after another; return 1 when one of ours failed."""
    parser = argparse.ArgumentParser(prog="python -m plugins.falcon.benchmark", description=__doc__)
    parser.add_argument("--recipe", default="falcon7b-qlora")
    parser.add_argument("--only", default="", help="some cases, by name, with commas between")
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps measured in a case")
    parser.add_argument("--data", type=Path, default=OWN_DATA, help="JSONL of conversations")
    parser.add_argument("--out", type=Path, help="folder of bench.json (runs/bench/<recipe>)")
    args = parser.parse_args()
    with user_errors_exit():
        recipe = load_recipe(args.recipe)
        if "plugins.falcon.FalconPlugin" not in (recipe.config.get("plugins") or []):
            raise UserError(
                "names no FalconPlugin, so there is nothing to compare",
                display_path(recipe.path), "Take a Falcon recipe",
            )  # fmt: skip
        out = args.out or ROOT / "runs" / "bench" / recipe.name
        return run(recipe, args.only, args.steps, args.data, out)
    return 1


def run(recipe: Recipe, only: str, steps: int, data: Path, out: Path) -> int:
    """Measure and report; results already in ``out`` stay unless their case is run again.

    Raises:
        UserError: an unknown case, or data that isn't there.
    """
    if not data.is_file():
        raise UserError("there is no such file", str(data), "Give a JSONL file of conversations")
    machine = json.loads(_python("plugins.falcon.benchmark.ceiling"))
    gpu = machine["device"] != "cpu"
    known = bench_cases.cases(not gpu, recipe.config)
    chosen = _choose(only, known)
    if not gpu:
        print("No GPU here: a tiny Falcon on the CPU shows that all runs, and little about speed.")
    out.mkdir(parents=True, exist_ok=True)
    bench: dict[str, Any] = {
        "recipe": recipe.name,
        "machine": machine,
        "cases": _kept(out, machine),
    }
    files = _write_data(data, out)
    models = {
        llama: _model(recipe.config, llama, gpu, out) for llama in {case.llama for case in chosen}
    }
    for case in tqdm(chosen, desc="benchmark", unit="run"):
        model, parameters = models[case.llama]
        result = _measure(case, recipe, model, files[case.short], out, steps, gpu)
        about = {
            "side": case.side, "rows": case.rows, "length": case.length, "against": case.against,
            "model": model, "parameters": parameters,
        }  # fmt: skip
        bench["cases"][case.name] = about | result
        order = [one.name for one in known]
        bench["cases"] = dict(sorted(bench["cases"].items(), key=lambda kv: order.index(kv[0])))
        report.with_ratios(bench["cases"], machine["matmul_flops"])
        bench["qlora_over_lora_time"] = report.quantisation_cost(bench["cases"])
        report.write(bench, out)
    report.draw(bench, out / "bench.png")
    report.print_table(bench)
    print(f"Written: {display_path(out)}/bench.json, bench.png, and a log of each run")
    ours = [bench["cases"][case.name] for case in chosen if case.side == "ours"]
    return int(any("failed" in result for result in ours))


def _choose(only: str, cases: list[bench_cases.Case]) -> list[bench_cases.Case]:
    known = {case.name: case for case in cases}
    names = [name.strip() for name in only.split(",") if name.strip()] or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"no case {unknown[0]!r}", "--only", f"Cases: {', '.join(known)}")
    return [known[name] for name in names]


def _kept(out: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """Cases measured before, when on the same kind of device."""
    file = out / "bench.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    same = before.get("machine", {}).get("device") == machine["device"]
    return before["cases"] if same else {}


def _write_data(data: Path, out: Path) -> dict[bool, str]:
    """Whole conversations, and the first question and answer of 172 of them."""
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines() if line]
    pairs = []
    for row in rows:
        messages = [m for m in row["messages"] if m["role"] != "system"][:2]
        if [m["role"] for m in messages] == ["user", "assistant"]:
            pairs.append({"messages": messages})
    texts = {False: [{"messages": row["messages"]} for row in rows], True: pairs[:SHORT_PAIRS]}
    files = {}
    for short, chosen in texts.items():
        path = out / ("pairs.jsonl" if short else "conversations.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
        files[short] = str(path)
    return files


def _model(recipe: dict[str, Any], llama: bool, gpu: bool, out: Path) -> tuple[str, int]:
    """Name or folder of the model, made when it isn't there, and its parameters."""
    base = str(recipe["base_model"])
    config = stand_in.llama_config() if llama else stand_in.falcon_config(base, tiny=not gpu)
    counted = _python("plugins.falcon.benchmark.ceiling", "--parameters", json.dumps(config))
    if gpu and not llama and stand_in.has_real_weights(base):
        return base, int(counted)
    name = "llama-7b" if llama else base.split("/")[-1]
    folder = ROOT / "models" / f"{name}-random" if gpu else out / "tiny-falcon"
    if not folder.exists():
        module = "plugins.falcon.benchmark.stand_in"
        _python(module, str(folder), json.dumps(config), str(out / "conversations.jsonl"))
    return str(folder), int(counted)


def _measure(
    case: bench_cases.Case, recipe: Recipe, model: str, data: str, out: Path, steps: int, gpu: bool
) -> dict[str, Any]:
    """Run one case in a process of its own."""
    config = bench_cases.config_of(
        case, recipe.config, model, data, str(out), WARM_UP + steps, gpu
    )  # fmt: skip
    file, result = out / f"{case.name}.yaml", out / f"{case.name}.json"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    result.unlink(missing_ok=True)
    environment = {RESULT_VARIABLE: str(result), WARM_UP_VARIABLE: str(WARM_UP)}
    with (out / f"{case.name}.log").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, "-m", "axolotl.cli.train", str(file)],
            env=_environment() | environment, stdout=log, stderr=subprocess.STDOUT,
            cwd=ROOT, check=False,
        )  # fmt: skip
    if done.returncode == 0 and result.exists():
        measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        result.unlink()
        return measured
    lines = (out / f"{case.name}.log").read_text(encoding="utf-8").splitlines()
    errors = [line for line in lines if "Error" in line] or lines
    return {"failed": (errors[-1] if errors else "no output").strip()}


def _environment() -> dict[str, str]:
    """This process's, quiet, and offline so that nothing waits for a network."""
    return {
        **os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def _python(module: str, *arguments: str) -> str:
    """What a module of this project prints, run in a process of its own.

    Raises:
        UserError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], env=_environment(), cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UserError(f"{module} failed: {last[0]}", "benchmark")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


if __name__ == "__main__":
    raise SystemExit(main())
