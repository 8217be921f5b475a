"""Exquisite corpse: a drawing game in which each player draws one part of a figure.

A player sees only the lower edge of the part above.
"""

from .app import app as app
