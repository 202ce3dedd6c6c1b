"""What goes to a terminal: letters, and nothing that moves its cursor or commands it.

Names, reasons and texts of strangers come with nearly everything that is printed, and an escape
sequence in one could hide a line, rename a window, or fill a clipboard.
"""

from collections.abc import MutableMapping
from typing import Final

KEPT: Final = "\n\t"
_ASCII: Final = (*range(0x20), 0x7F)
_SECOND: Final = range(0x80, 0xA0)  # some terminals take these for an escape
_TURNING: Final = (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))  # of direction
_COMMANDS: Final = {code: "?" for code in (*_ASCII, *_SECOND, *_TURNING) if chr(code) not in KEPT}


def plain(text: str) -> str:
    """The text, with a question mark for each character that is a command."""
    return text.translate(_COMMANDS)


def plain_line(text: str) -> str:
    """The same in one line."""
    return plain(text).replace("\n", "?")


def plain_entry(
    _logger: object, _method: str, entry: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """A step of structlog: an entry of the log that forges no other; only a traceback has lines."""
    for key, value in entry.items():
        if isinstance(value, str):
            entry[key] = plain(value) if key == "exception" else plain_line(value)
    return entry
