"""Write the generated pages: docs/cli.md, docs/config.md and docs/job.schema.json."""

from pathlib import Path

from dpin.cli.reference import config_page, page
from dpin.node.jobfields import schema_text

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Write them all."""
    (DOCS / "cli.md").write_text(page())
    (DOCS / "config.md").write_text(config_page())
    (DOCS / "job.schema.json").write_text(schema_text())


if __name__ == "__main__":
    main()
