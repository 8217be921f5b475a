"""Brokers, which servers share: they store leases and journals, and carry messages between servers."""
