"""Rooms, players, rounds and turns.

Knows no sockets, keys or connections: a room meets whoever sits in it through the one abstract class in `seat`.
"""
