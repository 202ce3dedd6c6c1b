"""The routes about blobs; see docs/api.md."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dpin.gateway.api import body, read_body
from dpin.node.blobviews import Blobs, FetchRequest, PinRequest, PutRequest
from dpin.node.status import View


def _view(schema: str, view: View, status: int = 200) -> Response:
    values: dict[str, object] = msgspec.to_builtins(view)
    return body(schema, values, status)


def blob_routes(blobs: Blobs) -> list[Route]:
    """What may be asked of a node's blobs."""

    async def listed(_request: Request) -> Response:
        return body("blobs", {"blobs": blobs.listed()})

    async def put(request: Request) -> Response:
        return _view("blob", await blobs.put(await read_body(request, PutRequest)), 201)

    async def fetch(request: Request) -> Response:
        wanted = await read_body(request, FetchRequest)
        return _view("fetch", await blobs.fetch(request.path_params["blob"], wanted), 202)

    async def fetched(request: Request) -> Response:
        return _view("fetch", blobs.fetched(request.path_params["blob"]))

    async def stop(request: Request) -> Response:
        return _view("fetch", blobs.stop(request.path_params["blob"]))

    async def pin(request: Request) -> Response:
        wanted = await read_body(request, PinRequest)
        return _view("blob", await blobs.pin(request.path_params["blob"], wanted))

    return [
        Route("/api/v1/blobs", listed),
        Route("/api/v1/blobs", put, methods=["POST"]),
        Route("/api/v1/blobs/{blob}/fetch", fetched),
        Route("/api/v1/blobs/{blob}/fetch", fetch, methods=["POST"]),
        Route("/api/v1/blobs/{blob}/fetch", stop, methods=["DELETE"]),
        Route("/api/v1/blobs/{blob}/pin", pin, methods=["POST"]),
    ]
