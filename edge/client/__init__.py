"""Clients of a room: the Python client, and `edge.js` for browsers."""
