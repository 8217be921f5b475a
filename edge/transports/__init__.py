"""Ways to carry frames: WebSocket and memory, behind one small abstract class."""
