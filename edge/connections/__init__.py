"""One connection in use, at either end: the driver, the outbox, the write scheduler, and the seat's send buffer."""
