"""This machine: its name, what runs on it, and the limits every fraction is of."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastembed_core.measure import RESOURCES, Limit, quantity

PACKAGES = ("numpy", "torch", "faiss-cpu", "numkong", "usearch", "sentence-transformers", "maxsim-cpu", "ml_dtypes", "fastembed-core")


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo, empty where there is none."""
    path = Path("/proc/cpuinfo")
    text = path.read_text().split("\n\n")[0] if path.is_file() else ""
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def isa() -> str:
    try:
        from fastembed_core import _core
    except ImportError:
        return "no extension"
    return _core.isa()


def machine(threads: int) -> dict[str, Any]:
    """What a figure depends on besides the code: CPU, instruction set, threads, versions. No host name."""
    cpu = _cpuinfo()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "vendor": {"AuthenticAMD": "amd", "GenuineIntel": "intel"}.get(cpu.get("vendor_id", ""), platform.machine().lower()),
        "family": f"{cpu.get('cpu family', '')}.{cpu.get('model', '')}".strip("."),
        "isa": isa(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": versions,
    }


def slug(machine: dict[str, Any]) -> str:
    """The name of a machine's results: vendor, family and instruction set, and the threads where they are not one."""
    parts = [machine["vendor"], machine["family"], machine["isa"], f"{machine['threads']}t" if machine["threads"] != 1 else ""]
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(part for part in parts if part).lower())


def described(limits: dict[str, Limit]) -> dict[str, dict[str, Any]]:
    """The limits as the results file holds them."""
    return {
        resource: {
            "rate": limit.rate,
            "unit": RESOURCES[resource][1],
            "recipe": limit.recipe,
            "text": quantity(limit.rate, RESOURCES[resource][1]),
        }
        for resource, limit in limits.items()
    }
