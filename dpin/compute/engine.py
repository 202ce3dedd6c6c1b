"""How a provider computes: in which numeric class, and with how many processes of its own.

The words are those of torchrun and of transformers' training arguments. To the network a provider
is one device whatever stands here: `bf16` and `torch_compile` make another numeric class (see
probe), all else makes the same bits.
"""

from typing import Final

from dpin.base.codec import Wire

ALL_REDUCE: Final = "all-reduce"
PARAMETER_SERVER: Final = "parameter-server"
FSDP2: Final = "fsdp2"
TOPOLOGIES: Final = (ALL_REDUCE, PARAMETER_SERVER, FSDP2)


class Engine(Wire, frozen=True):
    """The choices of one provider; as they are, one process in float32.

    `nproc_per_node` processes here, one a GPU where there are any, and as many on each of `nnodes`
    machines, which meet at `rdzv_endpoint` (host:port on this one; empty: this machine alone).
    """

    bf16: bool = False
    gradient_checkpointing: bool = False
    torch_compile: bool = False
    nproc_per_node: int = 1
    nnodes: int = 1
    rdzv_endpoint: str = ""
    max_restarts: int = 3
    topology: str = ALL_REDUCE

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.nproc_per_node * self.nnodes

    @property
    def endpoint(self) -> tuple[str, int]:
        """Where the processes meet: host, and port (0: a free one)."""
        host, _, port = self.rdzv_endpoint.rpartition(":")
        return (host, int(port)) if host else ("127.0.0.1", 0)


ONE_PROCESS: Final = Engine()
