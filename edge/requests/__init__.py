"""Who waits for which event or reply: used by both ends of a connection."""
