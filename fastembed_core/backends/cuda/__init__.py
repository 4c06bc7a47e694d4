"""Thin shims over the optional CUDA C++ extension: what Triton cannot reach, and what one launch must do."""

from importlib.util import find_spec

from ...dispatch import Backend, cells


def _missing() -> str | None:
    if find_spec("fastembed_core._cuda") is None:
        return "the CUDA extension is not built; CMake builds it with nvcc at -DFASTEMBED_CORE_CUDA=ON"
    try:
        import torch
    except ImportError:
        return "torch is not installed; pip install fastembed-core[torch]"
    try:
        from ... import _cuda
    except ImportError as error:
        return f"the CUDA extension does not load ({error})"
    return None if _cuda.on_host or torch.cuda.is_available() else "torch sees no CUDA device"


def _describe() -> str:
    import torch

    from ... import _cuda

    return f"compiled for {_cuda.targets}" + ("" if _cuda.on_host else f", {torch.cuda.get_device_name()}")


BACKEND = Backend(name="cuda", ops=cells(__path__), missing=_missing, describe=_describe)
