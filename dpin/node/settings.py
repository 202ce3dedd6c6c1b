"""The operator's choices: TOML text, the environment and flags, to one frozen value.

A later layer wins: default, file, `DPIN_SECTION__KEY` in the environment, flag. Every default
stands here and nowhere else; what can be derived is not a setting.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from dpin.base.errors import Misuse
from dpin.base.units import MicroTokens, parse_tokens
from dpin.compute.engine import ALL_REDUCE, TOPOLOGIES, Engine
from dpin.market.privacy import parse_datasets
from dpin.node.fields import parse_size, suggestion
from dpin.node.hours import Hours, parse_hours
from dpin.node.resting import Limits

ENV_PREFIX: Final = "DPIN_"
CONFIG_CHARS_MAX: Final = 1 << 16
DEFAULT: Final = "default"
OFF: Final = "off"
SANDBOXED: Final = "sandboxed"
_LISTEN: Final = re.compile(
    r"/ip4/[0-9.]{7,15}/tcp/[0-9]{1,5}|/ip6/[0-9a-f:.]{2,45}/tcp/[0-9]{1,5}"
)

_ENDPOINT: Final = re.compile(r"[\w.\-\[\]:]{1,255}:[1-9][0-9]{0,4}")

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections of a config file."""


class NodeSection(Section, frozen=True):
    """[node]: the node itself."""

    name: Annotated[str, msgspec.Meta(max_length=32)] = ""  # empty: derived from the node's key


class ShareSection(Section, frozen=True):
    """[share]: what this machine gives."""

    provide: bool = True
    disk: str = "20GB"
    max_jobs: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    hours: str = ""
    on_battery: bool = False

    @property
    def disk_bytes(self) -> int:
        """The quota for blobs and window states."""
        return parse_size(self.disk)

    @property
    def limits(self) -> Limits:
        """When it takes work."""
        return Limits(parse_hours(self.hours), self.on_battery)


class JobsSection(Section, frozen=True):
    """[jobs]: which work it takes."""

    min_price: str = "1"
    stake: str = "1000"
    datasets: tuple[str, ...] = ()
    custom_code: Annotated[str, msgspec.Meta(pattern=f"^({OFF}|{SANDBOXED})$")] = OFF

    @property
    def price_floor(self) -> MicroTokens:
        """The least it asks for one unit."""
        return parse_tokens(self.min_price)

    @property
    def stake_tokens(self) -> MicroTokens:
        """What it sets aside for bonds when it provides."""
        return parse_tokens(self.stake)


class ComputeSection(Section, frozen=True):
    """[compute]: how it computes; the words are those of torchrun and of transformers."""

    nproc_per_node: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    nnodes: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    rdzv_endpoint: str = ""
    max_restarts: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 3
    topology: Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(TOPOLOGIES)})$")] = ALL_REDUCE
    bf16: bool = False
    gradient_checkpointing: bool = False
    torch_compile: bool = False

    @property
    def engine(self) -> Engine:
        """The same, as a worker takes it."""
        return Engine(**msgspec.structs.asdict(self))


class NetworkSection(Section, frozen=True):
    """[network]: whom it talks to."""

    network: str = ""  # empty: the one that this home has joined
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    bootstrap: tuple[str, ...] = ()
    mdns: bool = True
    relay: bool = True
    upnp: bool = True
    bulk_port: Annotated[int, msgspec.Meta(ge=-1, le=65_535)] = 0
    upload: str = "0B"
    upload_each: str = "0B"
    download: str = "0B"
    download_each: str = "0B"


class LedgerSection(Section, frozen=True):
    """[ledger]: what it keeps of the ledger."""

    archive: bool = False
    verifiers: Annotated[int, msgspec.Meta(ge=-1, le=64)] = -1  # -1: by the number of cores


class ApiSection(Section, frozen=True):
    """[api]: the local HTTP API, on loopback only."""

    port: Port = 0  # 0: a free one


class LogSection(Section, frozen=True):
    """[log]: what it says."""

    level: Annotated[str, msgspec.Meta(pattern="^(debug|info|warning|error)$")] = "info"
    format: Annotated[str, msgspec.Meta(pattern="^(auto|console|json)$")] = "auto"


class Settings(Section, frozen=True):
    """Everything an operator may choose."""

    node: NodeSection = NodeSection()
    share: ShareSection = ShareSection()
    jobs: JobsSection = JobsSection()
    compute: ComputeSection = ComputeSection()
    network: NetworkSection = NetworkSection()
    ledger: LedgerSection = LedgerSection()
    api: ApiSection = ApiSection()
    log: LogSection = LogSection()


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting as it stands, and where it came from."""

    key: str  # "api.port"
    value: bool | int | str | tuple[str, ...]
    origin: str  # "default", a file's name, a variable's name or "flag"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings of one start, with the origin of each."""

    settings: Settings
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Layers:
    """What people wrote, from weakest to strongest."""

    file_text: str = ""
    file_name: str = "config.toml"
    environment: Mapping[str, str] | None = None
    flags: Mapping[str, object] | None = None  # "api.port" -> value


def known_keys() -> dict[str, type]:
    """Every setting as "section.key", with the section it belongs to."""
    return {
        f"{section.name}.{field.name}": section.type
        for section in msgspec.structs.fields(Settings)
        for field in msgspec.structs.fields(section.type)
    }


def resolve(layers: Layers) -> Resolved:
    """The settings that these layers make; raises Misuse that names the wrong one."""
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for origin, key, value in [*_from_file(layers), *_from_environment(layers), *_flags(layers)]:
        values[key], origins[key] = _checked(key, value, origin), origin
    settings = _assemble(values)
    choices = tuple(
        Choice(key, value, origins.get(key, DEFAULT)) for key, value in _flat(settings).items()
    )
    return Resolved(settings, choices)


def _from_file(layers: Layers) -> list[tuple[str, str, object]]:
    if len(layers.file_text) > CONFIG_CHARS_MAX:
        raise Misuse(f"{layers.file_name} is longer than {CONFIG_CHARS_MAX} characters")
    try:
        tables = tomllib.loads(layers.file_text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Misuse(f"{layers.file_name}: {error}", fix="correct the TOML there") from None
    found: list[tuple[str, str, object]] = []
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise Misuse(
                f"{layers.file_name}: {section!r} stands outside of a section",
                fix=suggestion(section, {key.partition(".")[0] for key in known_keys()}),
            )
        found += [(layers.file_name, f"{section}.{key}", table[key]) for key in table]
    return found


def _from_environment(layers: Layers) -> list[tuple[str, str, object]]:
    return [
        (name, name.removeprefix(ENV_PREFIX).lower().replace("__", ".", 1), text)
        for name, text in sorted((layers.environment or {}).items())
        if name.startswith(ENV_PREFIX) and "__" in name
    ]


def _flags(layers: Layers) -> list[tuple[str, str, object]]:
    flags = layers.flags or {}
    return [("flag", key, value) for key, value in flags.items() if value is not None]


def _checked(key: str, value: object, origin: str) -> object:
    """`value` as the type of `key`; text from the environment or a flag is read as that type."""
    keys = known_keys()
    if key not in keys:
        raise Misuse(f"{origin}: there is no setting {key!r}", fix=suggestion(key, keys))
    name = key.partition(".")[2]
    field = next(field for field in msgspec.structs.fields(keys[key]) if field.name == name)
    from_text = origin == "flag" or origin.startswith(ENV_PREFIX)
    if from_text and isinstance(value, str) and isinstance(field.default, tuple):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, field.type, strict=not from_text)
    except msgspec.ValidationError as error:
        raise Misuse(f"{origin}: {key} = {value!r}: {_plain(error)}", fix=_example(key)) from None


def _plain(error: msgspec.ValidationError) -> str:
    text = str(error).partition(" - at ")[0].replace("`", "")
    if names := re.search(r"matching regex '\^\(([^)]*)\)\$'", text):
        return f"it is one of {names[1].replace('|', ', ')}"
    return text[:1].lower() + text[1:]


def _example(key: str) -> str:
    default = _flat(Settings())[key]
    return f"write it as {key.partition('.')[2]} = {_toml(default)}"


def _assemble(values: Mapping[str, object]) -> Settings:
    tables: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = value
    settings = msgspec.convert(tables, Settings)
    _check_text("share.disk", settings.share.disk, parse_size)
    _check_text("share.hours", settings.share.hours, parse_hours)
    _check_text("jobs.min_price", settings.jobs.min_price, parse_tokens)
    _check_text("jobs.stake", settings.jobs.stake, parse_tokens)
    for key in ("upload", "upload_each", "download", "download_each"):
        _check_text(f"network.{key}", getattr(settings.network, key), parse_size)
    _check_datasets(settings.jobs.datasets)
    _check_group(settings.compute)
    for address in settings.network.listen:
        _check_listen(address)
    return settings


def _check_datasets(lines: tuple[str, ...]) -> None:
    try:
        parse_datasets(lines)
    except Misuse as error:
        raise Misuse(f"jobs.datasets: {error}", fix=error.fix) from None


def _check_group(compute: ComputeSection) -> None:
    if compute.nnodes > 1 and not _ENDPOINT.fullmatch(compute.rdzv_endpoint):
        raise Misuse(
            f"compute.rdzv_endpoint: {compute.rdzv_endpoint!r} is no host:port to meet at",
            fix='write it as rdzv_endpoint = "192.168.1.10:29400", an address of this machine',
        )


def _check_text(key: str, text: str, parse: Callable[[str], int | Hours]) -> None:
    try:
        parse(text)
    except Misuse as error:
        raise Misuse(f"{key}: {error}", fix=error.fix or _example(key)) from None


def _check_listen(address: str) -> None:
    if not _LISTEN.fullmatch(address):
        raise Misuse(
            f"network.listen: {address!r} cannot be listened on",
            fix="write it as /ip4/127.0.0.1/tcp/0 (0: a free port)",
        )


def _flat(settings: Settings) -> dict[str, bool | int | str | tuple[str, ...]]:
    return {
        f"{section}.{name}": value
        for section, table in msgspec.structs.asdict(settings).items()
        for name, value in msgspec.structs.asdict(table).items()
    }


def _toml(value: bool | int | str | tuple[str, ...]) -> str:  # noqa: FBT001 (a TOML value)
    return msgspec.json.encode(value).decode()


def config_text(name: str) -> str:
    """A config file with every setting, commented; only `name` is set."""
    defaults = _flat(Settings())
    lines = [
        "# What this node shares and takes. A line that starts with # shows the default.",
        "# A variable DPIN_SECTION__KEY or a flag wins over this file:",
        "#   dpin config show --origin",
    ]
    section = ""
    for key, value in defaults.items():
        head, _, field = key.partition(".")
        if head != section:
            lines += ["", f"[{head}]"]
            section = head
        lines.append(f"# {_MEANING[key]}")
        if key == "node.name":
            lines.append(f"name = {_toml(name)}")
        else:
            lines.append(f"# {field} = {_toml(value)}")
    return "\n".join(lines) + "\n"


_MEANING: Final = {
    "node.name": "a name for people; the node's id is its key",
    "share.provide": "take jobs of others for tokens",
    "share.disk": "for data, models and window states",
    "share.max_jobs": "leases at one time",
    "share.hours": 'takes new work then only: "22:00-07:00, sat-sun 00:00-24:00", local time',
    "share.on_battery": "take new work where the machine runs on its battery, too",
    "jobs.min_price": "the least it asks for one unit, in tokens",
    "jobs.datasets": 'own data for federated jobs, which never leave: "NAME FORMAT COLUMNS PATH"',
    "jobs.custom_code": "off, or sandboxed: modules of requesters run, locked up (Linux)",
    "jobs.stake": "tokens set aside for bonds while it provides",
    "compute.nproc_per_node": "processes that train one job together, one a GPU",
    "compute.nnodes": "machines that do so; the others run torchrun, see docs/operate.md",
    "compute.rdzv_endpoint": "host:port of this machine where they meet, on a network you trust",
    "compute.max_restarts": "how often a process that fails is started again",
    "compute.topology": "all-reduce, parameter-server (one has the optimizer), fsdp2 (each a part)",
    "compute.bf16": "products in bfloat16, a numeric class of its own",
    "compute.gradient_checkpointing": "less memory for more work, the same bits",
    "compute.torch_compile": "kernels by torch's compiler, a numeric class of its own",
    "network.network": "name of the network; empty: the one joined here",
    "network.listen": "TCP only; 0 is a free port; use /ip4/0.0.0.0/tcp/4610 for other machines",
    "network.bootstrap": "more addresses to dial first, each ending in /p2p/ID",
    "network.mdns": "find peers on the local network, where there is one",
    "network.relay": "pass on connections of others, and have its own passed on where needed",
    "network.upnp": "ask the router to let others in, where this node has no public address",
    "network.bulk_port": "for blobs; 0: the next after listen if free, else any; -1: none",
    "network.upload": "bytes a second of blobs to all peers together; 0B: no limit",
    "network.upload_each": "the same to one peer",
    "network.download": "bytes a second of blobs from all peers together; 0B: no limit",
    "network.download_each": "the same from one peer",
    "ledger.archive": "keep every block since this node joined, for audits; grows for ever",
    "ledger.verifiers": "processes that check signatures; 0: the node itself; -1: by its cores",
    "api.port": "of the HTTP API on 127.0.0.1; 0: a free one",
    "log.level": "debug, info, warning or error",
    "log.format": "auto (console on a terminal, else json), console or json",
}


def meaning(key: str) -> str:
    """What a setting is for, in one line."""
    return _MEANING[key]
