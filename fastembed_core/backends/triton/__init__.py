"""Triton kernels: CUDA tensors, and under TRITON_INTERPRET=1 anything in host memory, for tests."""

import os

from ...dispatch import Backend, cells


def interpreted() -> bool:
    """Whether Triton runs kernels on the host, as its own switch says."""
    return os.environ.get("TRITON_INTERPRET", "0") not in ("", "0", "false", "off", "no", "n")


def _missing() -> str | None:
    try:
        import torch
    except ImportError:
        return "torch is not installed; pip install fastembed-core[torch]"
    try:
        import triton  # noqa: F401
    except ImportError:
        return "triton is not installed; pip install fastembed-core[triton]"
    return None if interpreted() or torch.cuda.is_available() else "torch sees no CUDA device"


def _describe() -> str:
    import torch
    import triton

    return f"triton {triton.__version__}, {'interpreted' if interpreted() else torch.cuda.get_device_name()}"


BACKEND = Backend(
    name="triton",
    ops=cells(__path__),
    missing=_missing,
    describe=_describe,
)
