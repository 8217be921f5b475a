"""HTTP/1.1, and the HTTP transport, which streams or polls over it."""
