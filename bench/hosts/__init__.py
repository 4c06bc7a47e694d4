"""Whole programs of the systems people use, each alone and with its one line more.

A comparison is a function decorated with `host`; it returns the two calls and a check that their results agree.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from . import models, neighbors, searches, tables, tasks
from .comparison import HOSTS, Comparison, Host, measure, table

__all__ = ["HOSTS", "Comparison", "Host", "measure", "models", "neighbors", "searches", "table", "tables", "tasks"]
