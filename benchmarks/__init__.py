"""Benchmarks of edge and of comparable servers, the peers: ``make bench``, ``make bench-quick``, ``make profile``."""
