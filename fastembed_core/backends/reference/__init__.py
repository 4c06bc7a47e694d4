"""The oracle: float64, naive, short enough to be read as the specification. Never chosen automatically."""

from ...dispatch import Backend, cells

BACKEND = Backend(
    name="reference",
    ops=cells(__path__),
    missing=lambda: None,
    describe=lambda: "float64, plain",
)
