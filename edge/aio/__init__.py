"""Small helpers that know nothing of edge: Trio primitives, and checks of what authors write."""
