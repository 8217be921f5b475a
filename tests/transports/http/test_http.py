"""Rules of the RFCs for HTTP/1.1, of which public test suites had found violations in edge.

These tests detect three kinds of fault. The server reads a header with a list as one text. It accepts more syntax than
the RFC allows. Or a refusal does not name the accepted values.
"""

from __future__ import annotations
