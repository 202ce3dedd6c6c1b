"""A task in, a result and a trace out."""
