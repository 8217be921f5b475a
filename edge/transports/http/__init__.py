"""HTTP/1.1 connections, and the HTTP transport, which uses HTTP requests to stream or poll frames."""
