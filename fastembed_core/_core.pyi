"""
C++ kernels of fastembed_core. Private: call fastembed_core's own functions.
"""
from __future__ import annotations
import numpy
import numpy.typing
import typing
__all__: list[str] = ['Rows', 'calibrate', 'dequantize', 'isa', 'isas', 'normalize', 'quantize', 'recipes', 'rescore', 'run_recipe', 'select_isa', 'similarity', 'similarity_paired', 'topk']
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
def dequantize(arg0: numpy.ndarray, arg1: str, arg2: typing.SupportsInt | typing.SupportsIndex, arg3: typing.Any, arg4: typing.Any, arg5: typing.SupportsInt | typing.SupportsIndex, arg6: numpy.ndarray, arg7: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    The float32 values of codes; ranges are the minimum and step of each dimension.
    """
def isa() -> str:
    """
    The instruction set in use.
    """
def isas() -> list[str]:
    """
    The instruction sets this build holds and this machine runs, ascending.
    """
def normalize(arg0: numpy.ndarray, arg1: str, arg2: typing.SupportsFloat | typing.SupportsIndex, arg3: numpy.ndarray, arg4: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Each row over the larger of its length and eps.
    """
def quantize(arg0: numpy.ndarray, arg1: str, arg2: str, arg3: typing.Any, arg4: numpy.ndarray, arg5: typing.Any, arg6: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Codes of float rows, and their scales; limits are the minimum and maximum of each dimension.
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
def topk(arg0: Rows, arg1: Rows, arg2: typing.SupportsInt | typing.SupportsIndex, arg3: str, arg4: str, arg5: typing.Any, arg6: bool, arg7: typing.Any, arg8: typing.SupportsInt | typing.SupportsIndex, arg9: numpy.ndarray, arg10: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None:
    """
    The k best rows for each query.
    """
