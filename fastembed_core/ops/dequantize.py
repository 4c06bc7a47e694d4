"""dequantize lives beside quantize: it is its inverse."""

from .quantize import dequantize, dequantize_spec

__all__ = ["dequantize", "dequantize_spec"]
