"""Shared state: what changed in a document of a room, and the copy of the document that a client keeps."""
