"""One program for each peer, with an echo at /echo/N and rooms at /room/N, in the style of the peer's own
documentation."""
