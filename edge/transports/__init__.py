"""Transports of frames: WebSocket, HTTP and memory. All implement the abstract class `Transport`."""
