"""Give received events and replies to the tasks that wait for them. Both ends of a connection use this package."""
