"""Small Trio primitives that know nothing of edge."""
