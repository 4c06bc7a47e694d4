"""The command line: ``fastembed-core info | demo | embed | search | quantize | bench``.

Each subcommand is a module here with ``add_parser(subparsers)``, which sets ``run``: a function of the parsed
arguments. What a user can get wrong ends as one sentence on stderr and a non-zero exit; ``python -X dev`` shows where.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__

COMMANDS = ("info", "demo", "embed", "search", "quantize", "bench")

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the usage text before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISUSED, f"{self.prog}: {message} ({self.prog} --help lists the options)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastembed-core", description="Kernels for embedding inference and exact retrieval, from the command line.")
    parser.add_argument("--version", action="version", version=f"fastembed-core {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as done:  # --help, --version, or an error already said
        return done.code if isinstance(done.code, int) else OK
    try:
        arguments.func(arguments)
        sys.stdout.flush()
        return OK
    except KeyboardInterrupt:
        print("fastembed-core: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone. Python flushes stdout once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        if sys.flags.dev_mode:
            raise
        print(f"fastembed-core {arguments.command}: {_sentence(error)}", file=sys.stderr)
        return FAILED


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
