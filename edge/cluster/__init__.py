"""Code for several servers that share a broker: ownership and placement of rooms, and messages between servers."""
