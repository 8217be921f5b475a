"""The stage: a landing page for an audience, whose buttons a speaker switches live, and all the demos behind it."""

from .app import app as app
