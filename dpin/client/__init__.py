"""The Python SDK: HTTP to a local node."""
