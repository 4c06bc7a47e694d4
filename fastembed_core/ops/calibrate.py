"""calibrate lives beside quantize: it makes its ranges."""

from .quantize import calibrate

__all__ = ["calibrate"]
