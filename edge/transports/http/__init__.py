"""HTTP/1.1, and the transport that streams or polls over it."""
