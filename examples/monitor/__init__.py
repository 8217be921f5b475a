"""A live monitor: what this server does and takes, in streams of their own pace."""

from .app import app as app
