"""Measurements: fastembed_core against its rivals and against this machine's own limits.

``make bench`` (``python bench`` in an environment that has the rivals) runs every workload with all contenders interleaved
and writes the table, the results file and the roofline picture. The ``bench_<op>.py`` files are the same workloads under
pytest-benchmark, for tracking one operation over time. ``python bench/hosts`` runs whole programs of host systems, and
``python bench/readme.py`` brings README's tables up to date with the results.
"""
