"""What a persistent room records, so that another server can restore it. May import `rooms` and what lies below."""
