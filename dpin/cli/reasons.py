"""Why a job failed and what helps, in the words that a command ends with."""

from dpin.client.client import Client
from dpin.client.errors import ClientError
from dpin.node.status import ExplainView, JobView

_PREPARING = "preparing the job: "  # and then what is wrong with the file, the data or the model


def reason_and_fix(node: Client, job: JobView) -> tuple[str, str]:
    """The reason of a job that did not end well, and what to do about it."""
    look = f"dpin explain {job.id}"
    if job.reason.startswith(_PREPARING):
        return job.reason, "correct that and submit it again; nothing was spent"
    if "no-provider" not in job.reason:
        return job.reason, look
    try:
        why = node.explain(job.id)
    except ClientError:  # The job's end is known already; only its reason stays short.
        return job.reason, look
    return (why.summary, why.next_step) if why.next_step else (_declined(job, why), look)


def _declined(job: JobView, why: ExplainView) -> str:
    """With what the first of those says who would not take it."""
    if not why.declines:
        return job.reason
    first, known = why.declines[0], why.providers_seen
    detail = first.detail or first.code
    return f"{job.reason}: {len(why.declines)} of {known} decline, {first.name}: {detail}"
