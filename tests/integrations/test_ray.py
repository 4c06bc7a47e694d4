"""Ray, in a network namespace that has nothing but the loopback device: what it starts can talk to nobody else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

CLUSTER = Path(__file__).with_name("ray_cluster.py")


def alone() -> list[str]:
    """The words that run a command in such a namespace; none where the system does not let this user make one."""
    words = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if not (shutil.which("unshare") and shutil.which("ip")):
        return []
    return words if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0 else []


@pytest.mark.slow
def test_shards_on_a_cluster(tmp_path: Path) -> None:
    command = [*alone(), sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:codspeed", "-p", "no:asyncio", CLUSTER]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "RAY_"))}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_memory_monitor_refresh_ms": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert re.search(r"\d+ passed", done.stdout) and "skipped" not in done.stdout
