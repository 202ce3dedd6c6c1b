"""Who owns what, agreed by all."""
