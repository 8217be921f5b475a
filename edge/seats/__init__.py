"""Seats, which survive their connections, and the code that gives a connection its seat."""
