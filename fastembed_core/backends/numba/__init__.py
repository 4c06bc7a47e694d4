"""Jitted loops for machines without the compiled extension."""

from ...dispatch import Backend, cells


def _missing() -> str | None:
    from importlib.util import find_spec

    return None if find_spec("numba") else "numba is not installed; pip install fastembed-core[numba]"


def _describe() -> str:
    import numba

    return f"numba {numba.__version__}"


BACKEND = Backend(
    name="numba",
    ops=cells(__path__),
    missing=_missing,
    describe=_describe,
)
