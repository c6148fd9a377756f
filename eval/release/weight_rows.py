"""What llama.cpp's converter does to each weight, asked of the converter itself.

Run by its path with the converter on PYTHONPATH: ``weight_rows.py MODEL_FOLDER OUT.npz``; so it
imports nothing of this repository. llama.cpp wants rows in another order (rotary embedding, joined
projections) and some factors folded in (Falcon-H1's multipliers). Each weight is replaced by probes
(its row numbers, and ones) that go the converter's way; what comes out tells the order and the
factors, for files to be read back and for adapters.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights, from the headers of the safetensors files."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        header.pop("__metadata__", None)
        found |= {name: tuple(entry["shape"]) for name, entry in header.items()}
    return found


def main(folder: Path, out: Path) -> None:
    """Write ``name/to``, ``name/rows`` and ``name/factors`` of every matrix.

    ``rows`` are the numbers of the model's rows in the file's order, ``factors`` one a row.
    """
    import gguf
    import numpy as np
    import torch
    from conversion import ModelBase, get_model_architecture, get_model_class
    from conversion.base import ModelType

    hparams = ModelBase.load_hparams(folder, False)
    kind = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    # It wants a name of a file, and writes none here.
    model: Any = kind(folder, gguf.LlamaFileType.ALL_F32, out.with_suffix(".gguf"), eager=True)
    found: dict[str, Any] = {}
    for name, shape in shapes_of(folder).items():
        if len(shape) != 2:
            continue
        layer = next((int(part) for part in name.split(".") if part.isdecimal()), None)
        numbers = torch.arange(1, shape[0] + 1, dtype=torch.float32)[:, None].expand(shape)
        results = []
        for probe in (torch.ones(shape), numbers.contiguous()):
            written = list(model.modify_tensors(probe, name, layer))
            if len(written) != 1 or tuple(written[0][1].shape) != shape:
                raise SystemExit(f"{name} becomes {len(written)} tensors")
            if not bool((written[0][1] == written[0][1][:, :1]).all()):
                raise SystemExit(f"columns of {name} are moved or scaled")
            results.append(written[0][1][:, 0].double())
        factors, moved = results
        rows = (moved / factors).round().long() - 1
        found[f"{name}/to"] = np.array(written[0][0])
        found[f"{name}/rows"] = rows.numpy()
        found[f"{name}/factors"] = factors.numpy()
    np.savez(out, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
