"""Rooms, players, rounds and turns.

This package imports no sockets, keys or connections: a room sends through `Seat`, the abstract class in `seat`.
"""
