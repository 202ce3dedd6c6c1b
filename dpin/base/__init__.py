"""The vocabulary that every package shares."""
