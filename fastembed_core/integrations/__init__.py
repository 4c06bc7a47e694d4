"""One file for each host system, imported only on request; what a host means by its words lives in its own file alone."""
