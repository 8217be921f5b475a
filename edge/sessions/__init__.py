"""Seats that survive their connections."""
