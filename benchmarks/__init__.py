"""Benchmarks of edge and its peers, comparable servers: ``make bench``, ``make bench-quick``, ``make profile``."""
