"""Several servers that share a broker: the ownership and placement of rooms, and messages between servers."""
