"""The broker, which servers share: leases of rooms, journals, and messages."""
