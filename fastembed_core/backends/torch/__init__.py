"""torch composition: the differentiable path, and devices without a kernel of their own."""

from ...dispatch import Backend, cells


def _missing() -> str | None:
    try:
        import torch  # noqa: F401
    except ImportError:
        return "torch is not installed; pip install fastembed-core[torch]"
    return None


def _describe() -> str:
    import torch

    return f"torch {torch.__version__}"


BACKEND = Backend(
    name="torch",
    ops=cells(__path__),
    missing=_missing,
    describe=_describe,
)
