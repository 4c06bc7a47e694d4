"""dequantize lives beside quantize: it is its inverse."""

from .quantize import dequantize

__all__ = ["dequantize"]
