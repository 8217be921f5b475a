"""What several servers share: who has which room, rooms' logs, and the mail between servers."""
