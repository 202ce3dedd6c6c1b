"""The same nodes in another world."""
