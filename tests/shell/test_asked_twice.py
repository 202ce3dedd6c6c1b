"""A job that is asked for twice under one id, as after an answer that was lost."""

from pathlib import Path

import pytest
import trio

from dpin.node.control import SubmitRequest
from dpin.node.status import JobView
from tests.support.running import running_node

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

JOB = "type: train\ndata: {path: corpus.txt}\nlimits: {cost: 1}\n"
ID = "j-0123456789ab"


async def test_a_node_begins_a_job_of_one_id_once_however_often_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("The quick brown fox.\n" * 500)
    asked = SubmitRequest(text=JOB, folder=str(tmp_path), name="once", id=ID)
    answers: list[JobView] = []
    async with running_node(tmp_path / "node") as desk:

        async def ask() -> None:
            answers.append(await desk.submit(asked))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        await ask()
        assert [job.id for job in desk.jobs()] == [ID]
        other = await desk.submit(SubmitRequest(text=JOB, folder=str(tmp_path)))
        assert other.id != ID
    assert [answer.id for answer in answers] == [ID] * 4
