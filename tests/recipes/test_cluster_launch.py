"""Slurm, Kubernetes and SkyPilot: what each starts on each machine, up to accelerate's flags."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import recipes.__main__
from recipes.runner.core.recipe import RECIPES, ROOT
from recipes.runner.estimate import preflight
from recipes.runner.launch import strategy
from recipes.runner.launch import train as launch

FOLDER = RECIPES / "launch"
SLURM = FOLDER / "slurm.sh"

PYTHON = """#!/usr/bin/env bash
printf '%s\\0' "$@" > "$RECORD/python.${NODE_RANK:-x}.$$"
"""
SCONTROL = """#!/usr/bin/env bash
[[ "$1 $2" == "show hostnames" ]] || exit 9
printf '%s\\n' node-a node-b node-c node-d
"""
# Runs the command once for each machine, as Slurm would; its own options are kept for the test.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do echo "$1" >> "$RECORD/srun"; shift; done
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do SLURM_NODEID=$node "$@" || exit; done
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Environment in which make finds a Python that writes down its arguments; 8 GPUs a machine."""
    tools, venv, record = tmp_path / "tools", tmp_path / "venv", tmp_path / "record"
    for folder in (tools, venv / "bin", record):
        folder.mkdir(parents=True)
    files = {tools / "srun": SRUN, tools / "scontrol": SCONTROL, venv / "bin" / "python": PYTHON}
    for path, text in files.items():
        path.write_text(text)
        path.chmod(0o755)
    for module in (preflight, strategy):
        monkeypatch.setattr(module, "count_gpus", lambda: 8)
    kept = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
    return {
        **kept,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "RECORD": str(record),
        "VENV": str(venv),
        "PYTHON": "true",  # the set-up
    }


def run(command: list[str], environment: dict[str, str], folder: Path = ROOT):
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def launches(
    environment: dict[str, str], monkeypatch
) -> list[tuple[launch.NewRun, strategy.Launch]]:
    """What the real command line makes of every recorded call, short of starting it."""
    found: list[tuple[launch.NewRun, strategy.Launch]] = []
    monkeypatch.setattr(launch, "train", lambda run, how, *_: found.append((run, how)) or 0)
    for path in sorted(Path(environment["RECORD"]).glob("python.*")):
        words = path.read_bytes().decode().split("\0")[:-1]
        assert words[:3] == ["-m", "recipes", "train"]
        monkeypatch.setattr(sys, "argv", ["recipes", *words[2:]])
        assert recipes.__main__.main() == 0
    return found


def flag(how: strategy.Launch, name: str) -> str:
    return how.flags[how.flags.index(name) + 1]


def test_slurm_starts_one_launcher_a_machine(cluster, monkeypatch):
    job = {
        "RECIPE": "falcon7b-qlora",
        "SET": "lora_r=64 learning_rate=1e-4",
        "RUN": "wide",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "node-[a-d]",
        "SLURM_JOB_NUM_NODES": "4",
        "SLURM_GPUS_ON_NODE": "8",
        "SLURM_SUBMIT_DIR": str(ROOT),
    }
    ended = run(["bash", str(SLURM)], {**cluster, **job}, Path(cluster["RECORD"]))
    assert ended.returncode == 0, ended.stderr
    options = (Path(cluster["RECORD"]) / "srun").read_text().split()
    assert options == ["--kill-on-bad-exit=1", "--ntasks-per-node=1", "--nodes=4"]
    found = launches(cluster, monkeypatch)
    assert sorted(flag(how, "--machine_rank") for _, how in found) == ["0", "1", "2", "3"]
    for training, how in found:
        assert training.recipe.name == "falcon7b-qlora"
        assert training.overrides["lora_r"] == 64
        assert str(training.folder) == "runs/wide"
        assert flag(how, "--num_processes") == "32"
        assert flag(how, "--num_machines") == "4"
        assert flag(how, "--main_process_ip") == "node-a"
        assert flag(how, "--main_process_port") == str(20000 + 4711)


def test_slurm_on_one_machine_needs_no_meeting_place(cluster, monkeypatch):
    job = {
        "RECIPE": "falcon7b-qlora",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NODELIST": "node-a",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_GPUS_ON_NODE": "2",
        "SLURM_SUBMIT_DIR": str(ROOT),
    }
    ended = run(["bash", str(SLURM)], {**cluster, **job})
    assert ended.returncode == 0, ended.stderr
    ((_, how),) = launches(cluster, monkeypatch)
    assert flag(how, "--num_processes") == "2"
    assert "--num_machines" not in how.flags


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({}, "name a recipe"),
        ({"RECIPE": "x"}, "start it with sbatch"),
        (
            {"RECIPE": "x", "SLURM_JOB_NODELIST": "a", "SLURM_SUBMIT_DIR": "/"},
            "is not the root of the repository",
        ),
    ],
)
def test_slurm_script_says_what_is_missing(cluster, job, words):
    ended = run(["bash", str(SLURM)], {**cluster, **job})
    assert ended.returncode != 0
    assert words in ended.stderr
    assert not list(Path(cluster["RECORD"]).iterdir())


def test_slurm_script_is_clean_shell():
    assert run(["bash", "-n", str(SLURM)], dict(os.environ)).returncode == 0
    if shutil.which("shellcheck"):
        checked = run(["shellcheck", str(SLURM)], dict(os.environ))
        assert checked.returncode == 0, checked.stdout


def test_kubernetes_job_starts_a_launcher_in_each_pod(cluster, monkeypatch):
    service, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 4
    name = job["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["metadata"]["name"] == pod["subdomain"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    (variable,) = container["env"]
    assert "job-completion-index" in variable["valueFrom"]["fieldRef"]["fieldPath"]
    for index in range(spec["completions"]):
        values = {variable["name"]: str(index)}
        words = [
            re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], word)  # noqa: B023
            for word in (*container["command"], *container["args"])
        ]
        ended = run(words, {**cluster, **values})
        assert ended.returncode == 0, ended.stderr
    found = launches(cluster, monkeypatch)
    assert sorted(flag(how, "--machine_rank") for _, how in found) == ["0", "1", "2", "3"]
    for _, how in found:
        gpus = container["resources"]["limits"]["nvidia.com/gpu"]
        assert flag(how, "--num_processes") == str(4 * gpus)
        assert flag(how, "--main_process_ip") == f"{name}-0.{service['metadata']['name']}"
        port = flag(how, "--main_process_port")
        assert int(port) in [entry["containerPort"] for entry in container["ports"]]


@pytest.mark.parametrize("machines", [1, 2])
def test_skypilot_task_starts_a_launcher_on_each_machine(cluster, monkeypatch, machines):
    task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    assert set(task) <= {"name", "num_nodes", "resources", "workdir", "envs", "setup", "run"}
    for rank in range(machines):
        sky = {
            "SKYPILOT_NODE_RANK": str(rank),
            "SKYPILOT_NUM_NODES": str(machines),
            "SKYPILOT_NODE_IPS": "\n".join(["10.0.0.1", "10.0.0.2"][:machines]),
            "SKYPILOT_NUM_GPUS_PER_NODE": "8",
        }
        ended = run(["bash", "-c", task["run"]], {**cluster, **task["envs"], **sky})
        assert ended.returncode == 0, ended.stderr
    found = launches(cluster, monkeypatch)
    assert len(found) == machines
    for _, how in found:
        assert flag(how, "--num_processes") == str(8 * machines)
        if machines > 1:
            assert flag(how, "--main_process_ip") == "10.0.0.1"
            assert flag(how, "--main_process_port") == "29500"
