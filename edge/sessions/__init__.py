"""Session keys."""
