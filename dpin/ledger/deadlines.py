"""The agenda, from the state alone: what will happen by itself is no secret of who was there.

Every node makes its agenda anew at the end of each epoch, so that one who joins there goes on with
the same. A deadline that has passed without effect (of seats, while an award is pending) stands in
it again; acting on it twice changes nothing.
"""

from dpin.ledger.accounts import Job, JobState, LeaseState, State
from dpin.ledger.agenda import Agenda, job_due, lease_due, round_due, unit_due

_SEATS_OPEN = (JobState.OPEN, JobState.RUNNING)


def agenda_of(state: State) -> Agenda:
    """All deadlines of a state."""
    agenda = Agenda()
    for job in sorted(state.live_jobs):
        _add(agenda, state, state.jobs[job])
    return agenda


def _add(agenda: Agenda, state: State, job: Job) -> None:
    if job.current is not None:
        agenda.set(round_due(job.id), job.current.deadline)
    elif job.state in _SEATS_OPEN:
        agenda.set(job_due(job.id), job.deadline)
    pending = False
    for identity in job.leases:
        lease = state.leases[identity]
        pending = pending or lease.pending > 0
        if lease.state == LeaseState.AWARDED:
            agenda.set(lease_due(identity), lease.deadline)
    if pending:
        _add_units(agenda, state, job)


def _add_units(agenda: Agenda, state: State, job: Job) -> None:
    for record in job.rounds:
        for lease in record.roster:
            unit = state.units[lease, record.round]
            if not unit.state.settled:
                agenda.set(unit_due(lease, record.round), unit.deadline)
