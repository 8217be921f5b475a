"""The seat that survives its connections, and how a connection gets one."""
