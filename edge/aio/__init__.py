"""Small helpers for Trio and Python that import nothing from the rest of edge."""
