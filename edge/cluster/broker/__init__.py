"""What servers share: leases of rooms, journals, and messages."""
