"""Why a job failed and what helps, in the words that a command ends with."""

from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.status import JobView


def reason_and_fix(node: Client, job: JobView) -> tuple[str, str]:
    """The reason of a job that did not end well, and what to do about it."""
    look = f"dpin explain {job.id}"
    if "no-provider" not in job.reason:
        return job.reason, look
    try:
        why = node.explain(job.id)
    except ClientError:  # The job's end is known already; only its reason stays short.
        return job.reason, look
    return (why.summary, why.next_step) if why.next_step else (job.reason, look)
