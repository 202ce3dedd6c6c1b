"""Proof without trust in a node: what a stranger needs to check the ledger, and nothing else."""
