"""Secure aggregation: a round's sum is found, no single update is (Bonawitz 2017, Bell 2020)."""
