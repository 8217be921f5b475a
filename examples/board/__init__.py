"""A kanban board for several people, with a login, and a database in which the boards are saved."""

from .app import app as app
