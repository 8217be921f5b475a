"""Transports of frames, behind one small abstract class: WebSocket, HTTP and memory."""
