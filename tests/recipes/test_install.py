"""Set-up, with the real installer and a package index that has nothing."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ROOT / "recipes/runner/setup/install.py"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(INSTALL), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_failing_step_is_named_and_leaves_nothing_that_looks_installed(tmp_path):
    venv = tmp_path / "venv"
    result = run(
        "--venv", str(venv), PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE="/dev/null"
    )
    assert result.returncode == 1
    assert "error: set-up step 2 (torch==2.13.0" in result.stderr
    assert not venv.exists()
    (ROOT / "setup.log").unlink()


def test_unknown_extra_lists_the_known_ones(tmp_path):
    result = run("--venv", str(tmp_path / "venv"), "--extras", "deepspee")
    assert result.returncode == 1
    assert "bench, deepspeed, dev" in result.stderr


def test_an_installed_environment_is_left_alone(tmp_path):
    sys.path.insert(0, str(ROOT))
    from recipes.runner.setup.install import _digest

    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / ".installed").write_text(f"{_digest()}\ndev\n")
    result = run("--venv", str(venv), "--extras", "dev")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert [path.name for path in venv.iterdir()] == [".installed"]
