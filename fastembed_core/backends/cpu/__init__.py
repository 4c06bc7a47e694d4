"""Thin shims over the compiled extension: fused C++ kernels, their instruction set chosen at run time."""

from ...dispatch import Backend


def _missing() -> str | None:
    try:
        from ... import _core  # noqa: F401
    except ImportError as error:
        return f"the compiled extension is not installed ({error}); a C++17 compiler was missing when pip built the package"
    return None


def _describe() -> str:
    from ... import _core
    from ...threads import num_threads

    return f"{_core.isa()}, {num_threads()} threads"


BACKEND = Backend(
    name="cpu",
    ops=frozenset({"pool", "normalize", "quantize", "dequantize", "similarity", "similarity_paired", "topk", "rescore"}),
    missing=_missing,
    describe=_describe,
    sets_fp_state=True,
)
