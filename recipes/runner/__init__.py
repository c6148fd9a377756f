"""The Python behind `make train`, `check`, `plan`, `sweep` and `setup`."""
