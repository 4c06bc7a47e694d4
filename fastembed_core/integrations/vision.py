"""Image backbones (VGG, ResNet and the like): a feature map to one vector an image.

    from fastembed_core.integrations.vision import pool; vectors = pool(features, mode="mean", normalize=True)

Nothing but numpy or torch is imported.
"""

from __future__ import annotations

from typing import Any

import fastembed_core as fc


def pool(features: Any, *, mode: str = "mean", layout: str = "NCHW", **how: Any) -> Any:
    """Global pooling of feature maps, with truncation, L2 and codes in the same pass: `fastembed_core.pool` over H * W places.

    Parameters
    ----------
    features : (B, C, H, W), or (B, H, W, C) with layout ``NHWC``, numpy or torch. Channels that lie side by side (NHWC, and torch's
        ``channels_last``) are read in place; of plain NCHW maps a copy is made.
    mode : mean and max are torch's AdaptiveAvgPool2d(1) and AdaptiveMaxPool2d(1); attention takes `query`, one or more of C elements
    how : as in `fastembed_core.pool`

    Returns
    -------
    (B, C'), or Codes

    Raises
    ------
    TypeError, ValueError
        for what is no array, shapes and layouts that do not fit, in one sentence, and as `fastembed_core.pool`.
    """
    if layout not in ("NCHW", "NHWC"):
        raise ValueError(f"layout: got {layout!r}, expected NCHW or NHWC")
    if not hasattr(features, "ndim"):
        raise TypeError(f"features: got {type(features).__name__}, expected a numpy array or a torch tensor")
    if features.ndim != 4:
        raise ValueError(f"features: got shape {tuple(features.shape)}, expected 4 dimensions, {layout}")
    if layout == "NCHW":
        features = features.transpose(0, 2, 3, 1) if hasattr(features, "__array_interface__") else features.permute(0, 2, 3, 1)
    batch, height, width, channels = features.shape
    return fc.pool(features.reshape(batch, height * width, channels), mode=mode, **how)
