"""Rows that change under the same path are trained on as they are now."""

from pathlib import Path

from plugins.inputs import prepare_these_rows


def config(file: Path) -> dict:
    return {"datasets": [{"path": str(file)}], "dataset_prepared_path": "data/prepared"}


def test_other_rows_are_prepared_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    folders = []
    for text in ("one", "two", "one"):
        file.write_text(text)
        cfg = config(file)
        prepare_these_rows(cfg)
        folders.append(cfg["dataset_prepared_path"])
    assert folders[0] == folders[2] != folders[1]
    assert all(Path(folder).parent == Path("data/prepared") for folder in folders)


def test_what_is_no_file_here_keeps_its_folder(tmp_path: Path) -> None:
    cfg = config(tmp_path / "on-the-hub")
    prepare_these_rows(cfg)
    assert cfg["dataset_prepared_path"] == "data/prepared"
    cfg = config(tmp_path / "train.jsonl") | {"dataset_prepared_path": None}
    prepare_these_rows(cfg)
    assert cfg["dataset_prepared_path"] is None
