"""
C++ kernels of fastembed_core. Private: call fastembed_core's own functions.
"""
from __future__ import annotations
import numpy
import numpy.typing
import typing
__all__: list[str] = ['Rows', 'calibrate', 'code_center', 'dequantize', 'direct_normalize', 'direct_pool', 'direct_quantize', 'direct_similarity', 'direct_similarity_paired', 'direct_topk', 'embedding_bag', 'encode', 'isa', 'isas', 'maxsim', 'maxsim_topk', 'normalize', 'pool', 'quantize', 'range_search', 'recipes', 'rescore', 'run_recipe', 'select_isa', 'similarity', 'similarity_paired', 'topk']
class Rows:
    """
    An operand of a search: arrays and how to read them.
    """
    def __init__(self, data: numpy.ndarray, kind: str, dim: typing.SupportsInt | typing.SupportsIndex, scale: typing.Any = None, ranges: typing.Any = None, flip: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
def calibrate(arg0: numpy.ndarray, arg1: str, arg2: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    The minimum and maximum of each dimension.
    """
def code_center(arg0: Rows, arg1: str, arg2: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> None:
    """
    The mean of a sample of rows, of their directions under cosine.
    """
def dequantize(arg0: numpy.ndarray, arg1: str, arg2: typing.SupportsInt | typing.SupportsIndex, arg3: typing.Any, arg4: typing.Any, arg5: typing.SupportsInt | typing.SupportsIndex, arg6: numpy.ndarray, arg7: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    The float32 values of codes; ranges are the minimum and step of each dimension.
    """
def direct_normalize(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """
    Each row over its length, or None.
    """
def direct_pool(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """
    A vector for each sequence, or None.
    """
def direct_quantize(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """
    The arguments of Codes, or None.
    """
def direct_similarity(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """
    The score of every pair, or None.
    """
def direct_similarity_paired(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """
    The score of the pairs (i, i), or None.
    """
def direct_topk(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """
    The k best rows for each query, or None.
    """
def embedding_bag(arg0: Rows, arg1: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg2: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg3: typing.Any, arg4: str, arg5: bool, arg6: str, arg7: typing.Any, arg8: numpy.ndarray, arg9: typing.Any, arg10: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    One row for each bag of ids into out, scales into scale; ranges are minimum and step.
    """
def encode(arg0: Rows, arg1: str, arg2: bool, arg3: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], arg4: typing.SupportsInt | typing.SupportsIndex, arg5: numpy.ndarray, arg6: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], arg7: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], arg8: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], arg9: typing.Any) -> None:
    """
    Codes of float rows for scans.
    """
def isa() -> str:
    """
    The instruction set in use.
    """
def isas() -> list[str]:
    """
    The instruction sets this build holds and this machine runs, ascending.
    """
def maxsim(arg0: Rows, arg1: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg2: Rows, arg3: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg4: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg5: typing.Any, arg6: str, arg7: str, arg8: typing.SupportsInt | typing.SupportsIndex, arg9: numpy.ndarray) -> None:
    """
    The score of every query with every document.
    """
def maxsim_topk(arg0: Rows, arg1: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg2: Rows, arg3: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg4: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg5: typing.Any, arg6: typing.SupportsInt | typing.SupportsIndex, arg7: str, arg8: str, arg9: typing.Any, arg10: bool, arg11: typing.SupportsInt | typing.SupportsIndex, arg12: numpy.ndarray, arg13: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None:
    """
    The k best documents for each query.
    """
def normalize(arg0: numpy.ndarray, arg1: str, arg2: typing.SupportsFloat | typing.SupportsIndex, arg3: numpy.ndarray, arg4: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Each row over the larger of its length and eps.
    """
def pool(arg0: numpy.ndarray, arg1: str, arg2: typing.Any, arg3: typing.Any, arg4: typing.Any, arg5: str, arg6: typing.Any, arg7: typing.SupportsFloat | typing.SupportsIndex, arg8: bool, arg9: str, arg10: typing.SupportsInt | typing.SupportsIndex, arg11: typing.Any, arg12: numpy.ndarray, arg13: typing.Any, arg14: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    One row for each sequence of token states into out, scales into out_scale; ranges are minimum and step.
    """
def quantize(arg0: numpy.ndarray, arg1: str, arg2: str, arg3: typing.Any, arg4: numpy.ndarray, arg5: typing.Any, arg6: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Codes of float rows, and their scales; limits are the minimum and maximum of each dimension.
    """
def range_search(arg0: Rows, arg1: Rows, arg2: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], arg3: str, arg4: str, arg5: typing.Any, arg6: bool, arg7: typing.Any, arg8: typing.SupportsInt | typing.SupportsIndex, arg9: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """
    Every row that reaches each query's threshold; fills indptr and returns scores and row numbers.
    """
def recipes() -> list[tuple[str, str, str]]:
    """
    (instruction set, resource, name) of every recipe that measures a limit of this machine.
    """
def rescore(arg0: Rows, arg1: Rows, arg2: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], arg3: typing.SupportsInt | typing.SupportsIndex, arg4: str, arg5: str, arg6: typing.SupportsInt | typing.SupportsIndex, arg7: numpy.ndarray, arg8: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None:
    """
    The k best of given rows for each query.
    """
def run_recipe(recipe: typing.SupportsInt | typing.SupportsIndex, source: typing.Any, target: typing.Any, n: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> float:
    """
    Run recipes()[recipe] for n steps, or over n bytes (read, copy); returns the work done.
    """
def select_isa(name: str) -> None:
    """
    Use one instruction set from now on (for tests).
    """
def similarity(arg0: Rows, arg1: Rows, arg2: str, arg3: str, arg4: typing.SupportsInt | typing.SupportsIndex, arg5: numpy.ndarray) -> None:
    """
    The score of every pair.
    """
def similarity_paired(arg0: Rows, arg1: Rows, arg2: str, arg3: str, arg4: typing.SupportsInt | typing.SupportsIndex, arg5: numpy.ndarray) -> None:
    """
    The score of the pairs (i, i).
    """
def topk(q: Rows, x: Rows, k: typing.SupportsInt | typing.SupportsIndex, metric: str, form: str, mask: typing.Any, packed: bool, exclude: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex, scores: numpy.ndarray, indices: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], scans: typing.Any = ()) -> tuple[int, int, int]:
    """
    The k best rows for each query; rows scanned, rows scored canonically, and which scan came last.
    """
