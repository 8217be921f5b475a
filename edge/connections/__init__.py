"""Connections of clients and servers: the driver, the outbox, the write scheduler, and the send buffer of a seat."""
