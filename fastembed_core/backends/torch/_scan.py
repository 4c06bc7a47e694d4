"""Estimates of every score of a block by float32 matrix multiplication, as upper bounds of what they estimate.

An estimate is of the *merit*, as in the numpy backend: q.x, q.x / |x|, or of centered rows q.x - |x|^2 / 2.
"""

from __future__ import annotations

import os

import torch

from ...ops.scores import Score
from ._operand import Index, Operand, converted, length

LOW, HIGH = 2.0**-100, 2.0**100  # squared norms inside: no product or sum of theirs comes near float32's ends


def product_unit(device: torch.device) -> tuple[float, float]:
    """The relative error of one term of a float32 matrix product: from summing, and from rounding the factors first.

    A device sums in truncated steps, hence the two bits. Any setting but plain float32 is taken for the coarsest,
    bfloat16: torch's older switch, its newer one (torch raises where both were used) and oneDNN's own.
    """
    backend = torch.backends.cuda if device.type == "cuda" else getattr(torch.backends, "mkldnn", None)
    told = [os.environ.get(name, "STRICT") for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")]
    try:
        told += [torch.get_float32_matmul_precision(), getattr(getattr(backend, "matmul", None), "fp32_precision", "none")]
    except RuntimeError:
        told.append("mixed")
    plain = all(setting in ("STRICT", "highest", "ieee", "none") for setting in told)
    return (2.0**-24 if device.type == "cpu" else 2.0**-22), (0.0 if plain else 2.0**-7)


class Scan:
    """Estimates for one pair of operands; `center` is what distances are measured from."""

    def __init__(self, q: Operand, x: Operand, score: Score, center: torch.Tensor | None) -> None:
        self.q, self.x, self.score, self.center = q, x, score, center
        unit, factors = product_unit(q.device)
        # The product (D), the norms of a cosine (D / 2), and the roundings around them.
        self.unit = (1.5 * q.dim + 16) * unit * 1.01 + factors if q.dim < 2**18 else torch.inf

    def side(self, operand: Operand, rows: Index, lo: int, hi: int) -> torch.Tensor:
        """float32 elements as the product takes them: centered, else as stored without their scale."""
        block = operand.block(rows, lo, hi)
        if self.center is None:
            return block
        scale = operand.scale(rows)
        if scale is None:
            return block - self.center[lo:hi].float()  # one rounding, relative to the difference
        return converted(block * scale[:, None] - self.center[lo:hi], torch.float32)

    def squares(self, operand: Operand, rows: Index) -> torch.Tensor:
        """(m,) float64 squared norms of `side`, in float64 throughout."""
        total = torch.zeros(length(rows), dtype=torch.float64, device=operand.device)
        for lo, hi in operand.chunks():
            total += converted(self.side(operand, rows, lo, hi), torch.float64).square().sum(1)
        return total

    def bounded(self, squares: torch.Tensor) -> torch.Tensor:
        """Where estimates have a bound: squared norms neither tiny, huge nor NaN, and zero rows but for distances.

        (A centered row may come out as zero where a thread flushed its elements.)
        """
        inside = (squares >= LOW) & (squares <= HIGH)
        return inside if self.center is not None else inside | (squares == 0)

    def block(self, queries: slice, rows: slice, q_norms: torch.Tensor) -> torch.Tensor:
        """(t, m) float32, no less than the merit of any pair but for a part that all rows of a query share (`shared`)."""
        merit, squares = self._product(queries, rows)
        which = (~((squares >= LOW) & (squares <= HIGH))).nonzero()[:, 0]  # the one synchronisation of a block
        if len(which):  # a float32 sum of squares cannot tell a zero row from a tiny one
            squares[which] = self.squares(self.x, which + rows.start)
        odd = ~self.bounded(squares)
        scale = None if self.center is not None else self.x.scale(rows)
        if scale is not None:
            odd |= ~scale.isfinite()
            if self.score.metric == "ip":
                merit *= scale.float()
                squares *= scale * scale
                odd |= ~self.bounded(squares)
        norms = squares.where(~odd, 0.0).sqrt()
        if self.score.metric == "cosine":
            merit *= norms.where(norms != 0, 1.0).reciprocal().float()
        elif self.score.metric == "ip":
            merit.addr_(q_norms.float(), norms.float(), alpha=self.unit)
        else:
            merit -= ((0.5 - self.unit) * norms.square()).float()
            merit.addr_(q_norms.float(), norms.float(), alpha=2 * self.unit)
        return merit.masked_fill_(odd | merit.isnan(), torch.inf)

    def shared(self, q_norms: torch.Tensor) -> torch.Tensor:
        """(t,) what `block` leaves out of its bounds, with the roundings of adding up the rest."""
        if self.score.metric == "ip":
            return torch.zeros_like(q_norms)
        return self.unit * q_norms if self.score.metric == "cosine" else self.unit * q_norms.square()

    def _product(self, queries: slice, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        merit = torch.zeros(length(queries), length(rows), dtype=torch.float32, device=self.q.device)
        squares = torch.zeros(length(rows), dtype=torch.float64, device=self.q.device)
        for lo, hi in self.q.chunks():
            a, b = self.side(self.q, queries, lo, hi), self.side(self.x, rows, lo, hi)
            merit.addmm_(a, b.T)
            squares += torch.linalg.vector_norm(b, dim=1).double().square()
        return merit, squares

    def floor(self, scores: torch.Tensor, q_norms: torch.Tensor) -> torch.Tensor:
        """The merit under which a row's score, rounded to float32, is worse than that of rows scoring `scores`."""
        scores = scores.clamp(-3.4028234e38, 3.4028234e38)
        slack = 2.0**-22 * scores.abs() + 2.0**-148  # two steps of float32 at least: one for each rounding
        if self.score.metric == "ip":
            return scores - slack
        if self.score.metric == "cosine":
            return (scores - slack) * q_norms.where(q_norms != 0, 1.0)
        far = scores + slack
        return (q_norms.square() - (far.square() if self.score.metric == "l2" else far)) / 2
