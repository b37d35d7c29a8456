"""What the process is told before PyTorch is loaded, so that training is fast on a CPU."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Names in glibc's malloc.h."""

_MMAP_FROM = 256 * 2**20
_TRIM_FROM = 2**30


def settle() -> None:
    """Choose how threads wait and how memory is kept; what the user has set stays.

    Threads of PyTorch that wait for each other spin for long by default, and two trainings on one
    machine then take each other's cores: measured on two cores, each became some ten times slower.
    Not to spin at all costs a training that is alone a sixth of its pace; to spin briefly costs
    neither.

    glibc gives every tensor beyond some megabytes back to the system, which hands it out again page
    by page, set to zero, in every step of a training: some tenth of its time.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_FROM)
