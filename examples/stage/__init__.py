"""The stage: a landing page for an audience, and the other demos on the same port.

A speaker switches the buttons of the page on and off during a talk.
"""

from .app import app as app
