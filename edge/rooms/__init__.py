"""Rooms, players, rounds and turns.

This package does not import the code of sockets, keys or connections. A room sends messages through the abstract class
`Seat`, which higher layers implement.
"""
