"""The stage: a landing page for an audience, and the other demos on the same port.

During a talk, a speaker switches the buttons of this page on and off.
"""

from .app import app as app
