"""
C++ kernels of fastembed_core. Private: call fastembed_core's own functions.
"""
from __future__ import annotations
__all__: list[str] = ['isa', 'isas', 'select_isa']
def isa() -> str:
    """
    The instruction set in use.
    """
def isas() -> list[str]:
    """
    The instruction sets this build holds and this machine runs, ascending.
    """
def select_isa(name: str) -> None:
    """
    Use one instruction set from now on (for tests).
    """
