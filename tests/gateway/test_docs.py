"""The pages about the API and the job file say what there is."""

from pathlib import Path

import msgspec
import pytest

from dpin.gateway.api import application
from dpin.gateway.blobs import blob_routes
from dpin.node.blobviews import FetchRequest, PinRequest, PutRequest
from dpin.node.control import (
    CompareRequest,
    InviteRequest,
    PayRequest,
    PingRequest,
    ProofRequest,
    RunRequest,
    SubmitRequest,
    TraceRequest,
    TransferRequest,
    ValidatorRequest,
)
from dpin.node.jobfields import InferenceFields, TrainFields
from tests.support.fake_control import FakeControl

DOCS = Path(__file__).parents[2] / "docs"


def test_every_route_and_every_field_of_a_request_is_on_the_page() -> None:
    page = (DOCS / "api.md").read_text()
    control = FakeControl()
    for route in application(control, blob_routes(control.blobs)).routes:
        path = str(getattr(route, "path", ""))
        methods: set[str] = getattr(route, "methods", set())
        assert any(f"`{method} {path}`" in page for method in methods), path
    for request in (
        SubmitRequest,
        RunRequest,
        TransferRequest,
        PayRequest,
        InviteRequest,
        ProofRequest,
        CompareRequest,
        ValidatorRequest,
        PingRequest,
        TraceRequest,
        PutRequest,
        FetchRequest,
        PinRequest,
    ):
        for field in msgspec.structs.fields(request):
            assert f"`{field.name}`" in page, field.name


@pytest.mark.parametrize("kind", [TrainFields, InferenceFields])
def test_every_field_of_a_job_file_is_on_the_page(kind: type[msgspec.Struct]) -> None:
    page = (DOCS / "job-file.md").read_text()
    for field in msgspec.structs.fields(kind):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            for below in msgspec.structs.fields(inner):
                assert f"| `{field.name}.{below.name}` |" in page
        else:
            assert f"| `{field.name}` |" in page
