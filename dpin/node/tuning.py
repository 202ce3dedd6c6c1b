"""A model's directory as an order needs it: its config.json, and how large it is.

Weights and tokenizer are read by the worker; here they are only found.
"""

from typing import Final

import msgspec
import trio

from dpin.base.errors import Misuse
from dpin.compute.hubspec import CAUSAL, HubSpec, canonical_config, check_hub
from dpin.compute.modulespec import CODE_BYTES_MAX, ModuleSpec, check_module
from dpin.compute.sizes import builtin_parameters
from dpin.market.evaluating import evaluates
from dpin.market.orders import TrainOrder
from dpin.node.evalfile import built_in, check_built_in, with_classes
from dpin.node.modulefile import ModuleWish
from dpin.node.tunefile import HubWish

CONFIG_BYTES_MAX: Final = 64 * 1024
BYTES_A_PARAMETER: Final = 2  # bfloat16: rather too many parameters than too few


async def tuned(order: TrainOrder, wish: HubWish, base: str) -> TrainOrder:
    """The order for what a wish asks for; `base` is the model's folder. Raises Misuse."""
    inner = msgspec.structs.replace(order.inner, accumulation=wish.accumulation)
    order = msgspec.structs.replace(order, inner=inner, data=wish.data, private=wish.private)
    if not wish.folder:
        return order
    config = await _config(base)
    if evaluates(order):
        model = built_in(config)
        if model is not None:
            check_built_in(wish)
            size = builtin_parameters(model)
            return msgspec.structs.replace(order, model=model, base=base, parameters=size)
        data = with_classes(wish.data, canonical_config(config), wish.head)
        order = msgspec.structs.replace(order, data=data)
    spec = HubSpec(
        head=wish.head,
        config=canonical_config(config),
        context=wish.context,
        masked=wish.head == CAUSAL and wish.data.kind == "chat",
        lora=wish.lora,
    )
    check_hub(spec)
    return msgspec.structs.replace(order, model=spec, base=base, parameters=await _size(base))


async def own_code(order: TrainOrder, wish: ModuleWish, path: str) -> TrainOrder:
    """The order for a module of the requester's own; raises Misuse where `path` holds none."""
    file = trio.Path(path)
    if not await file.is_file():
        raise Misuse(f"model.module: there is no {path}", fix="name a file of Python")
    size = (await file.stat()).st_size
    if size > CODE_BYTES_MAX:
        raise Misuse(f"{path} has {size:,} bytes", fix=f"at most {CODE_BYTES_MAX:,} are run")
    spec = ModuleSpec(wish.entry, wish.context)
    check_module(spec)
    return msgspec.structs.replace(order, model=spec, base=path, data=wish.data)


async def _config(base: str) -> str:
    file = trio.Path(base) / "config.json"
    if not await file.exists():
        raise Misuse(
            f"{base} is not a model directory: it has no config.json",
            fix="name a folder that save_pretrained has written",
        )
    return (await file.read_bytes())[:CONFIG_BYTES_MAX].decode("utf-8", "replace")


async def _size(base: str) -> int:
    """Parameters, reckoned from the size of the weights' files; raises Misuse where none are."""
    files = [file for file in await trio.Path(base).iterdir() if file.suffix == ".safetensors"]
    if not files:
        raise Misuse(
            f"{base} has no safetensors",
            fix="model.save_pretrained(folder) writes them; pickles are never read",
        )
    sizes = [(await file.stat()).st_size for file in files]
    return sum(sizes) // BYTES_A_PARAMETER
