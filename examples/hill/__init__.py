"""King of the hill: discs on a round board, pushing each other off the middle."""

from .app import app as app
