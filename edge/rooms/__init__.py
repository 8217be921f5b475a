"""Rooms, players, rounds and turns.

Knows no sockets and no sessions: a room meets whoever sits in it through the one abstract class in `seat`.
"""
