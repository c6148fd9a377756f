import pytest

from recipes.runner.launch.failed_rank import FailedRank, how_it_ended


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "ended with exit code 1"),
        (-9, "was killed (SIGKILL, by hand or by the system when out of memory)"),
        (-15, "was killed (SIGTERM)"),
        (-99, "was killed (signal 99)"),
    ],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert how_it_ended(code) == words
    assert str(FailedRank(1, "node7", code)) == f"rank 1 on node7 {words}"
