"""Is there a GPU? Answered in milliseconds, so that its absence is said before anything loads."""

from __future__ import annotations

import ctypes
import os


def count_gpus() -> int:
    """CUDA devices that the driver shows to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    number = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(number)):
        return 0
    return number.value


def device_names(there: int) -> list[str]:
    """The ``there`` visible devices, named as CUDA_VISIBLE_DEVICES takes them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible:
        return [name.strip() for name in visible.split(",")]
    return [str(place) for place in range(there)]
