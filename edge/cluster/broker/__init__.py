"""Brokers: each stores the leases and journals of several servers, and carries messages between these servers."""
