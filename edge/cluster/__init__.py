"""Several servers: which of them has which room, and how they reach each other's. A single server needs none of it."""
