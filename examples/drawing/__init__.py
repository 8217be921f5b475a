"""Exquisite corpse: a drawing game. Each player draws one part of a figure and sees only the edge of the part above."""

from .app import app as app
