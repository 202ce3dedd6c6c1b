"""The ledger: what of it can be shown to others."""

from dpin.cli import proofs
from dpin.cli.options import group

ledger = group("Show the ledger to others, so that they need not trust this node.")

ledger.command()(proofs.prove)
ledger.command()(proofs.checkpoint)
