"""Match incoming events and replies with the tasks that wait for them. Both ends of a connection use this package."""
