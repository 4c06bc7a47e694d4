"""Codes beside float rows: what a coded scan reads in place of them, so that an exact search moves a quarter or an eighth of the bytes.

Row i of a corpus, less one common center (under cosine: its direction x / |x| less the center), is ``scale[i] * codes[i]`` plus a
residual whose norm ``error[i]`` bounds. By Cauchy-Schwarz its score cannot differ from the coded one by more than
``|q| * error[i]`` plus the query's own rounding, ``|q - q'| * norm[i]``, plus stated rounding terms (SEMANTICS section 5), so a
search that drops a row only where that bound proves it out of the answer returns the bits of a plain one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .operands import Rows

SCAN_PRECISIONS = ("int4", "int8")  # the cheapest to read first


@dataclass(frozen=True)
class ScanCodes:
    """The codes of n rows and what bounds them.

    precision: ``int8`` (codes -127 to 127) or ``int4`` (nibbles, code + 8, even elements low). center: (D,) float32.
    arrays: ``codes`` (n, D) int8 or (n, ceil(D / 2)) uint8; ``scale`` and ``error`` (NaN: the row has no codes) and
    ``norm`` = |scale * codes|, each (n,) float32; ``bias`` = -|x - center|^2 / 2, (n,) float32, only for l2 and sqeuclidean.
    """

    precision: str
    center: Any  # numpy, or torch on a device
    arrays: dict[str, Any]

    def __getitem__(self, rows: slice | np.ndarray) -> ScanCodes:
        return ScanCodes(self.precision, self.center, {name: array[rows] for name, array in self.arrays.items()})

    def concat(self, other: ScanCodes) -> ScanCodes:
        """These rows and then the other ones, which have the same center."""
        return ScanCodes(
            self.precision, self.center, {name: np.concatenate([array, other.arrays[name]]) for name, array in self.arrays.items()}
        )

    def operand(self, dim: int) -> tuple[Any, ...]:
        """As the extension takes it."""
        from . import _core

        a = self.arrays
        codes = _core.Rows(a["codes"], "i4" if self.precision == "int4" else "i8", dim, a["scale"], None, 0)
        return codes, a["error"], a["norm"], a.get("bias"), self.center


def available() -> bool:
    """Whether the compiled extension, which makes and reads the codes, is there."""
    from .dispatch import get_backend

    return get_backend("cpu").missing() is None


def encode(x: Rows, metric: str, precision: str, center: np.ndarray | None = None) -> ScanCodes:
    """The codes of float rows for searches under `metric`.

    center : (D,) float32 that every row is taken less of; None takes the mean of a sample. A corpus keeps its first one.
    """
    from . import _core
    from .threads import num_threads

    rows = _core.Rows(x.data, x.kind, x.dim, None, None, 0)
    if center is None:
        center = np.empty(x.dim, np.float32)
        _core.code_center(rows, metric, center)
    nibbles = precision == "int4"
    arrays: dict[str, np.ndarray] = {"codes": np.empty((x.n, (x.dim + 1) // 2), np.uint8) if nibbles else np.empty((x.n, x.dim), np.int8)}
    arrays |= {name: np.empty(x.n, np.float32) for name in ("scale", "error", "norm")}
    if metric in ("l2", "sqeuclidean"):
        arrays["bias"] = np.empty(x.n, np.float32)
    _core.encode(
        rows,
        metric,
        nibbles,
        center,
        num_threads(),
        arrays["codes"],
        arrays["scale"],
        arrays["error"],
        arrays["norm"],
        arrays.get("bias"),
    )
    return ScanCodes(precision, center, arrays)
