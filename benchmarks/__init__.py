"""Benchmarks of edge and its peers on one machine: ``make bench``, ``make bench-quick``, ``make profile``."""
