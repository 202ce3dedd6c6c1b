"""What `dpin init` puts into a home."""

from dpin.cli.passphrase import open_key, writer
from dpin.node.home import Home, create_key, write_config
from dpin.node.settings import Layers, config_text, resolve


def ensure_key(home: Home, *, encrypted: bool) -> bytes:
    """The seed of the key that is there, opened, or of a new one."""
    if home.key.exists():
        return open_key(home)
    return create_key(home, writer("the node's key", encrypted=encrypted))


def configure(home: Home, name: str) -> None:
    """Write a config, once it is known to be a good one."""
    text = config_text(name)
    resolve(Layers(text, str(home.config)))
    write_config(home, text)
