"""calibrate lives beside quantize: it makes its ranges."""

from .quantize import calibrate, calibrate_spec

__all__ = ["calibrate", "calibrate_spec"]
