"""King of the hill: a game in which discs on a round board push each other off the middle."""

from .app import app as app
