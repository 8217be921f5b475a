"""Clients of a room: in Python here, in a browser `edge.js`."""
