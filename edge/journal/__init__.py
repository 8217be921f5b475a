"""The journal of a persistent room, from which another server restores it. May import `rooms` and lower layers."""
