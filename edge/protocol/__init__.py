"""The sans-IO wire protocol: typed events, codecs, messages, counts, and the connection machine.

This package uses no Trio, no sockets, no clock and no randomness. Time is an argument.
"""
