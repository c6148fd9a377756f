"""The log of a run, also on a disk that takes nothing more."""

from pathlib import Path

import pytest

from recipes.runner.core.errors import UserError
from recipes.runner.launch.run_log import RunLog


def test_log_goes_into_the_folder_behind_an_earlier_one(tmp_path: Path):
    folder = tmp_path / "run"
    for word in ("first\n", "second\n"):
        with RunLog(folder) as log:
            log.write(word)
            assert log.path.parent == tmp_path
            folder.mkdir(exist_ok=True)
        assert log.path == folder / "train.log"
    assert log.path.read_text() == "first\nsecond\n"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_log_stays_beside_a_folder_that_was_never_made(tmp_path: Path):
    with RunLog(tmp_path / "run") as log:
        log.write("why\n")
    assert log.path.read_text() == "why\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to stand for a full disk")
def test_full_disk_ends_the_log_and_not_the_run(tmp_path: Path):
    (tmp_path / ".run.train.log").symlink_to("/dev/full")
    with RunLog(tmp_path / "run") as log:
        for _ in range(3):
            log.write("more than there is room for\n")


def test_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        RunLog(tmp_path / "file" / "run")
