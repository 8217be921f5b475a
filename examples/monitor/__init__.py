"""A live monitor: requests, CPU and memory of this server, each in a stream with its own rate."""

from .app import app as app
