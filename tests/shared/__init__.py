"""Tests of shared state."""
