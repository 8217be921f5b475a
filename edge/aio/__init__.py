"""Small helpers that use no other part of edge: Trio primitives, and checks of authors' code."""
