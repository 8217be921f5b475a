"""One program for each peer: an echo at /echo/N, and rooms at /room/N, as its own documentation would write them."""
