"""One connection at work: what is sent and kept, the driver, and the write scheduler. Used by both ends."""
