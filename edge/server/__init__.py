"""The server of an `App`, which serves HTTP routes and rooms on one port."""
