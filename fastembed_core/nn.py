"""torch modules over the kernels: they train like torch's own, and run on our kernels where no gradient is asked for.

    from fastembed_core.nn import Pooling; pooling = Pooling("attention", embedding_dim=384, normalize=True)
    from fastembed_core.nn import EmbeddingBag  # in the place of torch.nn.EmbeddingBag; bag.coded() has int8 rows

torch.compile takes them whole: what they compile to is one operator of ours (`fastembed_core.torch_ops`).
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .codes import ROW_PRECISIONS, Codes
from .ops.embedding_bag import embedding_bag
from .ops.pool import MODES, pool
from .ops.quantize import quantize

__all__ = ["Pooling", "EmbeddingBag", "CodedEmbeddingBag"]

_FLOATS = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "float32"}


class Pooling(torch.nn.Module):
    """Token states to one embedding a sequence: `fastembed_core.pool` as a module, with learned queries for ``attention``.

    Parameters
    ----------
    mode : mean, max, cls, lasttoken, weightedmean, mean_sqrt_len_tokens or attention
    embedding_dim : elements D of a token, needed for attention
    num_queries : H learned queries, the parameter ``query`` (H, D), drawn from a normal distribution of variance 1 / D; each
        attends over whole tokens, as ``torch.nn.functional.scaled_dot_product_attention(query, tokens, tokens)`` does, and the
        result is (B, H * D)
    truncate_dim : keep the first elements, before normalization
    normalize : divide by the L2 norm

    ``forward(tokens, mask=None, *, cu_seqlens=None, token_weights=None)`` takes (B, T, D) with a mask, or (total, D) with
    `cu_seqlens`, and returns the type of `tokens`; see `pool`.
    """

    def __init__(
        self,
        mode: str = "mean",
        *,
        embedding_dim: int | None = None,
        num_queries: int = 1,
        truncate_dim: int | None = None,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode: got {mode!r}, expected one of {', '.join(MODES)}")
        if mode == "attention" and embedding_dim is None:
            raise ValueError("embedding_dim: got None for mode 'attention', expected the elements of a token")
        self.mode, self.truncate_dim, self.normalize = mode, truncate_dim, normalize
        self.query: torch.nn.Parameter | None = None
        if mode == "attention":
            self.query = torch.nn.Parameter(torch.randn(num_queries, int(embedding_dim or 0)) / math.sqrt(embedding_dim or 1))

    def forward(self, tokens: Any, mask: Any = None, *, cu_seqlens: Any = None, token_weights: Any = None) -> Any:
        pooled = pool(
            tokens,
            mask,
            mode=self.mode,
            cu_seqlens=cu_seqlens,
            query=self.query,
            token_weights=token_weights,
            truncate_dim=self.truncate_dim,
            normalize=self.normalize,
            precision=_FLOATS.get(tokens.dtype, "float32"),
        )
        return pooled.to(tokens.dtype)

    def extra_repr(self) -> str:
        shape = "" if self.query is None else f", {self.query.shape[0]} queries of {self.query.shape[1]}"
        return f"{self.mode}{shape}, truncate_dim={self.truncate_dim}, normalize={self.normalize}"


class EmbeddingBag(torch.nn.EmbeddingBag):
    """`torch.nn.EmbeddingBag` with the same parameters, weights and results, on our kernels where they are faster and nothing trains.

    Ours are the maxima; sums and means of floats are torch's, which reads the rows as fast as the memory gives them. Whatever trains,
    renormalizes (`max_norm`), lies on another device or is of another type runs torch's own code too; so do errors. `coded` gives
    the same bags, of any mode, over int8 or int4 rows: less to read, and so faster.
    """

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        table = self.weight
        ours = (
            table.device.type == "cpu"
            and table.dtype in _FLOATS
            and self.mode == "max"
            and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and self.max_norm is None
            and isinstance(input, torch.Tensor)
            and input.dtype in (torch.int32, torch.int64)
            and input.numel() > 0
            and (input.ndim == 2) == (offsets is None)
            and per_sample_weights is None
        )
        if not ours:
            return super().forward(input, offsets, per_sample_weights)
        return _bags(table, self, input, offsets, None).to(table.dtype)

    def coded(self, precision: str = "int8_row") -> CodedEmbeddingBag:
        """The same bags over rows coded once: a quarter (``int8_row``) or an eighth (``int4_row``) of the memory; they do not train."""
        return CodedEmbeddingBag(self, precision)


class CodedEmbeddingBag(torch.nn.Module):
    """`EmbeddingBag` over coded rows: buffers ``data`` and ``scale``, which the state dict holds; made by `EmbeddingBag.coded`."""

    data: Any
    scale: Any

    def __init__(self, bag: torch.nn.EmbeddingBag, precision: str = "int8_row") -> None:
        super().__init__()
        if precision not in ROW_PRECISIONS:
            raise ValueError(f"precision: got {precision!r}, expected one of {', '.join(ROW_PRECISIONS)}")
        if bag.max_norm is not None:
            raise ValueError("bag: got one with max_norm, which changes rows as they are read, expected max_norm None")
        codes = quantize(bag.weight.detach(), precision)
        self.precision, self.embedding_dim, self.mode = precision, codes.dim, bag.mode
        self.padding_idx, self.include_last_offset = bag.padding_idx, bag.include_last_offset
        self.register_buffer("data", codes.data)
        self.register_buffer("scale", codes.scale)

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        """(B, D) float32: as `torch.nn.EmbeddingBag`, which takes `per_sample_weights` for sums alone."""
        if per_sample_weights is not None and self.mode != "sum":
            raise ValueError(f"per_sample_weights: got a tensor for mode {self.mode!r}, expected None, or mode 'sum'")
        codes = Codes(self.data, self.precision, self.embedding_dim, self.scale)
        return _bags(codes, self, input, offsets, per_sample_weights)

    def extra_repr(self) -> str:
        return f"{self.data.shape[0]}, {self.embedding_dim}, {self.precision}, mode={self.mode!r}"


def _bags(table: Any, bag: Any, ids: Any, offsets: Any, weights: Any) -> Any:
    how: dict[str, Any] = {"mode": bag.mode, "weights": weights, "padding_idx": bag.padding_idx}
    half = isinstance(table, torch.Tensor) and table.dtype == torch.float16
    return embedding_bag(
        table, ids, offsets, include_last_offset=bag.include_last_offset, precision="float16" if half else "float32", **how
    )
