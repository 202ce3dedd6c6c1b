"""A job's rounds as TensorBoard event files; a step is how many rounds are behind the model."""

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dpin.cli.metrics import MILLIS, round_numbers
from dpin.node.status import JobDetail


def write_events(detail: JobDetail, folder: Path) -> Path:
    """Write one event file anew; `tensorboard --logdir FOLDER` shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    writer = EventFileWriter(str(folder))
    if detail.holdout_before is not None:
        value = Summary.Value(tag="loss/holdout", simple_value=detail.holdout_before)
        began = detail.job.submitted_ms / MILLIS
        writer.add_event(Event(wall_time=began, step=0, summary=Summary(value=[value])))
    for item in detail.rounds:
        values = [
            Summary.Value(tag=name, simple_value=float(number))
            for name, number in round_numbers(item).items()
            if number is not None
        ]
        when = (item.started_ms + item.train_ms + item.exchange_ms) / MILLIS
        values += [
            Summary.Value(tag=f"clients/{one.name}/loss", simple_value=one.loss)
            for one in item.clients
            if one.loss is not None
        ]
        event = Event(wall_time=when, step=item.round + 1, summary=Summary(value=values))
        writer.add_event(event)
    writer.close()
    return next(folder.glob("events.out.tfevents.*"))
