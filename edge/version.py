"""The version of edge. The package's metadata takes the version from this module."""

__version__ = "0.1.0"
