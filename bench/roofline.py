"""The roofline picture: what each kernel attains, and what this machine can do at its arithmetic intensity.

Exact searches through codes count the operations and bytes of a search that reads the rows: they may stand above the roof.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend is chosen first

INK, FAINT = "#24292f", "#8c959f"
# Ceilings from low to high: colour, label, operations in one unit of the limit (a multiply-add or a compared bit is two).
CEILINGS = {
    "fma": ("#0969da", "float32", 1),
    "int8": ("#bc4c00", "int8", 2),
    "popcount": ("#8250df", "bits", 2),
}
# What a kernel works on, by its workload's name: the ceiling whose colour it has, and how it is written.
KINDS = {
    "f32-bits": ("popcount", "float32 × bits"),
    "f32": ("fma", "float32"),
    "int8-codes": ("fma", "through int8 codes"),
    "int4-codes": ("fma", "through int4 codes"),
    "real-int8-codes": ("fma", "real, int8 codes"),
    "real-int4-codes": ("fma", "real, int4 codes"),
    "range": ("fma", "range search"),
    "f16": ("fma", "float16"),
    "bf16": ("fma", "bfloat16"),
    "real": ("fma", "real float32"),
    "i8": ("int8", "int8"),
    "i4": ("int8", "int4 × int8"),
    "hamming": ("popcount", "Hamming"),
}
_MEMORY = "#1a7f37"
_CHARACTER = 6.6  # pixels, of a name
_VARIANTS = ("mask", "k1000", "tiny", "int8-row", "k10", "duplicates", "offset")  # of kernels that are there already


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the picture of a results file: our kernels filled, the best rival of each as a ring below."""
    limits = results["limits"]
    if "read" not in limits:
        return
    bandwidth = limits["read"]["rate"]
    points = [w for w in results["workloads"] if w["seconds"] and not any(part in w["name"] for part in _VARIANTS)]
    figure, axes = plt.subplots(figsize=(8.4, 5.0), dpi=120)
    low, high = 0.12, 4e3
    top = 0.0
    for resource, (colour, label, per_unit) in CEILINGS.items():
        if resource not in limits:
            continue
        roof = limits[resource]["rate"] * per_unit
        knee, top = roof / bandwidth, max(top, roof)
        axes.plot([knee, high], [roof, roof], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=1)
        axes.annotate(f"{label} {_rate(roof)}", (knee, roof), (22, 4), textcoords="offset points", color=colour, fontsize=9)
    axes.plot([low, top / bandwidth], [low * bandwidth, top], color=FAINT, linewidth=1.6, zorder=1)
    slope = axes.annotate(
        f"memory {limits['read']['text']}",
        (low, low * bandwidth),
        (6, 12),
        textcoords="offset points",
        color=FAINT,
        fontsize=9,
        rotation_mode="anchor",
    )
    for w in points:
        colour, x, y = _kind(w)[0], w["ops"] / w["bytes"], w["ops"] / w["seconds"]
        if w["ratio"]:
            rival = y / w["ratio"]
            axes.plot([x, x], [rival, y], color=colour, linewidth=0.8, alpha=0.45, zorder=2)
            axes.plot(x, rival, "o", markersize=5, markerfacecolor="white", markeredgecolor=colour, markeredgewidth=1.0, zorder=3)
        axes.plot(x, y, "o", markersize=7, color=colour, markeredgecolor="white", markeredgewidth=0.8, zorder=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    slowest = min(w["ops"] / w["seconds"] / max(w["ratio"] or 1, 1) for w in points) if points else low * bandwidth
    axes.set_ylim(slowest * 0.7, top * 1.9)
    axes.set_xlabel("operations per byte of memory read", color=INK)
    axes.set_ylabel("operations per second", color=INK)
    axes.yaxis.set_major_formatter(lambda value, _: _rate(value))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(colors=INK, labelsize=9, which="both", length=0)
    axes.grid(color="#eaeef2", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    machine = results["machine"]
    threads = f"{machine['threads']} thread" + ("s" if machine["threads"] != 1 else "")
    axes.set_title(f"{machine['cpu']}, {machine['isa']}, {threads}: ● fastembed_core  ○ best rival", color=INK, fontsize=10, loc="left")
    figure.tight_layout()
    figure.canvas.draw()
    _label(axes, points)
    start, end = axes.transData.transform([(low, low * bandwidth), (low * 10, low * 10 * bandwidth)])
    slope.set_rotation(math.degrees(math.atan2(end[1] - start[1], end[0] - start[0])))
    figure.savefig(path)
    plt.close(figure)


def _kind(workload: dict[str, Any]) -> tuple[str, str]:
    """A workload's colour and label."""
    name, _, queries = workload["name"].rpartition("-q")
    for prefix, (resource, text) in KINDS.items():
        if name.startswith(prefix):
            return CEILINGS[resource][0], f"{text}, Q {queries}"
    return _MEMORY, workload["name"].replace("-", " ")


def _label(axes: Any, points: list[dict[str, Any]]) -> None:
    """Each kernel's name beside its point, on the side where it covers least of what is there."""
    place = {w["name"]: axes.transData.transform((w["ops"] / w["bytes"], w["ops"] / w["seconds"])) for w in points}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in place.values()]
    for w in points:
        if w["ratio"]:
            x, y = axes.transData.transform((w["ops"] / w["bytes"], w["ops"] / w["seconds"] / w["ratio"]))
            taken.append((x - 5, y - 5, x + 5, y + 5))
    frame = axes.get_window_extent()
    for w in sorted(points, key=lambda w: -w["ops"] / w["seconds"]):
        text = _kind(w)[1]
        width, (x, y) = _CHARACTER * len(text), place[w["name"]]
        boxes = {}
        for dx, dy in ((9, 0), (-9, 0), (6, 11), (6, -11), (-6, 11), (-6, -11), (6, 20), (6, -20)):
            left = x + dx if dx > 0 else x + dx - width
            boxes[dx, dy] = (left, y + dy - _CHARACTER, left + width, y + dy + _CHARACTER)
        outside = {at: 1e6 * (box[0] < frame.x0 or box[2] > frame.x1 or box[1] < frame.y0) for at, box in boxes.items()}
        dx, dy = min(boxes, key=lambda at: outside[at] + sum(_common(boxes[at], other) for other in taken))
        taken.append(boxes[dx, dy])
        points_per_pixel = 72 / axes.figure.dpi
        axes.annotate(
            text,
            (w["ops"] / w["bytes"], w["ops"] / w["seconds"]),
            (dx * points_per_pixel, dy * points_per_pixel),
            textcoords="offset points",
            ha="left" if dx > 0 else "right",
            va="center",
            fontsize=7.5,
            color=INK,
            zorder=5,
        )


def _common(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _rate(value: float) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {unit}op/s"
    return f"{value:.3g} op/s"
