"""The journal of a persistent room, from which another server restores the room. Imports `rooms` and lower layers."""
