"""Bytes between nodes."""
