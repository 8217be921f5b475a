"""The wire, sans-IO: typed events, codecs, messages, counting, and the connection machine.

Knows no Trio, no sockets, no clock and no randomness: time is an argument.
"""
