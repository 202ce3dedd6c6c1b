"""What a node process imports."""

import subprocess
import sys
from typing import Final

LOADED: Final = """
from dpin.cli.imports import sparing
with sparing():
    import dpin.cli.service, dpin.node.driver
import gc, sys
assert gc.isenabled() and gc.get_freeze_count() > 0
print(*sorted({name.partition(".")[0] for name, module in sys.modules.items() if module}))
import rich
"""


def test_a_node_imports_neither_what_it_does_not_use_nor_forgets_that_it_exists() -> None:
    words = [sys.executable, "-c", LOADED]
    loaded = subprocess.check_output(words, text=True).split()  # noqa: S603  # This very Python.
    assert {"libp2p", "structlog", "trio"} <= set(loaded)
    # Where one comes back, a library imports it in another way: see what that costs.
    assert not {"anycorn", "click", "httpx2", "rich", "starlette", "torch", "typer"} & set(loaded)
