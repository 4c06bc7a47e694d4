"""
CUDA kernels of fastembed_core. Private: call fastembed_core's own functions.
"""
from __future__ import annotations
import typing
__all__: list[str] = ['Search', 'Stream', 'float_topk', 'float_workspace', 'hamming_topk', 'hamming_workspace', 'most', 'most_bits', 'most_floats', 'on_host', 'targets', 'tensor_bits']
class Stream:
    """
    A device's number and the address of one of its streams.
    """
    def __init__(self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class Search:
    """
    Operands and results of a search; addresses are of the device, strides are bytes.
    """
    def __init__(self, *, q: typing.SupportsInt | typing.SupportsIndex, q_n: typing.SupportsInt | typing.SupportsIndex, q_stride: typing.SupportsInt | typing.SupportsIndex, x: typing.SupportsInt | typing.SupportsIndex, x_n: typing.SupportsInt | typing.SupportsIndex, x_stride: typing.SupportsInt | typing.SupportsIndex, dim: typing.SupportsInt | typing.SupportsIndex, k: typing.SupportsInt | typing.SupportsIndex, mask: typing.SupportsInt | typing.SupportsIndex, mask_stride: typing.SupportsInt | typing.SupportsIndex, packed: bool, exclude: typing.SupportsInt | typing.SupportsIndex, excluded: typing.SupportsInt | typing.SupportsIndex, scores: typing.SupportsInt | typing.SupportsIndex, rows: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
def float_topk(search: Search, queries: str, corpus: str, metric: str, workspace: typing.SupportsInt | typing.SupportsIndex, stream: Stream) -> None:
    """
    Top-k of floats, by the canonical score of every row.
    """
def float_workspace(search: Search, stream: Stream) -> int:
    """
    Bytes of workspace that float_topk takes.
    """
def hamming_topk(search: Search, tensor: bool, flip: typing.SupportsInt | typing.SupportsIndex, workspace: typing.SupportsInt | typing.SupportsIndex, stream: Stream) -> None:
    """
    Top-k of packed bits; each byte of the queries is xor'ed with flip.
    """
def hamming_workspace(search: Search, tensor: bool, stream: Stream) -> int:
    """
    Bytes of workspace that hamming_topk takes.
    """
most: int = 2048
most_bits: int = 262144
most_floats: int = 16384
on_host: bool = False
targets: str = 'sm_80, sm_90a and PTX'
tensor_bits: int = 6144
