"""The server: serves an `App`, its HTTP routes and its rooms, on one port."""
