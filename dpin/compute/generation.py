"""Running a model on a text: what is asked of a worker, and what it answers."""

from dpin.base.codec import Wire
from dpin.base.ids import Digest


class Generate(Wire, frozen=True, tag=10):
    """Run an InferManifest on a model file; reports Tokens as they come, then Generated."""

    manifest: bytes
    model: str


class Generated(Wire, frozen=True, tag=12):
    """Generation is over; `output` is the digest (OUTPUT_TAG) of all bytes."""

    output: Digest
    tokens: int
    first_token_ms: int
    milliseconds: int


class Tokens(Wire, frozen=True, tag=11):
    """Bytes generated since the last report."""

    data: bytes
