"""Give received events and replies to the tasks that wait for them. The server and the client use this package."""
