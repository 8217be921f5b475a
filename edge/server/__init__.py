"""The server: an `App` on one port, HTTP and rooms."""
