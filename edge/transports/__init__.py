"""Transports of frames: WebSocket, HTTP and memory. They share one abstract class."""
