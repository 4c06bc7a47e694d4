"""Progress on stderr: tqdm's bar on a terminal where tqdm is installed, otherwise plain lines."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_SECONDS = 1.0  # work that ends sooner says nothing


@contextmanager
def progress(total: int, what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """A function to call with each number of `unit` done, of `total`."""
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            # tqdm draws nothing where a terminal does not tell its size (many pseudo-terminals do not); this says 80 by 24 there.
            width, height = shutil.get_terminal_size()
            with tqdm(total=total, desc=what, unit=f" {unit}", leave=False, delay=QUIET_SECONDS, ncols=width, nrows=height) as bar:
                yield bar.update
            return
    yield _lines(total, what, unit)


def _lines(total: int, what: str, unit: str) -> Callable[[int], None]:
    """At most one line for each tenth of the work."""
    start = time.monotonic()
    done = tenths = 0

    def update(n: int) -> None:
        nonlocal done, tenths
        done += n
        seconds = time.monotonic() - start
        if done * 10 // max(1, total) > tenths and seconds > QUIET_SECONDS:
            tenths = done * 10 // max(1, total)
            print(f"{what}: {done:,} of {total:,} {unit}, {done / seconds:,.0f} a second", file=sys.stderr, flush=True)

    return update
