"""Doing parts of a unit again: a window from its start, an update from its two ends."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dpin.base.blob import blob_id, manifest_of
from dpin.base.errors import PeerFault
from dpin.base.ids import NO_BLOB, NO_DIGEST, Digest, Round
from dpin.base.leaf import Leaf, leaf_digest
from dpin.compute.checkpoint import (
    Later,
    Start,
    WindowState,
    decode_global,
    decode_later,
    decode_start,
)
from dpin.compute.door import Door
from dpin.compute.outer import error_root
from dpin.compute.state import state_hash
from dpin.compute.task import (
    CheckUpdate,
    CheckWindow,
    TrainManifest,
    UpdateChecked,
    WindowChecked,
)
from dpin.compute.ticker import Ticker
from dpin.compute.train import Diverged, Inner
from dpin.compute.unit import Seat, begun, encode_unit, run_window
from dpin.compute.updates import encode_update


@dataclass(frozen=True, slots=True)
class Rechecks:
    """The checks of one job's units."""

    _manifest: TrainManifest
    _trainer: Inner
    _door: Door
    _seat: Callable[[Digest, Round, int], Seat]

    def window(self, command: CheckWindow) -> WindowChecked:
        """Do the window after `opened` again. A state that cannot be read or trained is not ok."""
        began, leaf = self._door.clock_ms(), command.opened
        seat = self._seat(leaf.lease, leaf.round, command.seat)
        seat = replace(seat, error_buffer=leaf.error_buffer)
        opened_ok, found = False, NO_DIGEST
        data = self._door.files.read(command.state)
        if 0 <= leaf.window < len(seat.bounds) - 1:
            try:
                state = self._decoded(data, leaf.window)
                opened_ok = seat.leaf(leaf.window, state) == leaf
                found = self._redone(seat, leaf.window, state) if opened_ok else NO_DIGEST
            except (PeerFault, Diverged):
                found = NO_DIGEST
        return WindowChecked(leaf, opened_ok, found, self._door.clock_ms() - began)

    def _decoded(self, data: bytes, window: int) -> WindowState:
        model = self._manifest.model
        return decode_start(data, model) if window == 0 else decode_later(data, model)

    def _redone(self, seat: Seat, window: int, state: WindowState) -> Digest:
        self._trainer.load(begun(self._manifest.encoding, state))
        ticker = Ticker(seat, self._door)
        later = run_window(self._trainer, seat, window + 1, ticker.on_step)
        return leaf_digest(seat.leaf(window + 1, later))

    def update(self, command: CheckUpdate) -> UpdateChecked:
        """Encode the update again. Files that cannot be read as states are not ok."""
        first, last, seat = command.first, command.last, self._seat_of_update(command)
        base_data = self._door.files.read(command.base)
        final_data = self._door.files.read(command.final)
        try:
            base = self._base(base_data, first)
            final = decode_later(final_data, self._manifest.model)
        except PeerFault:
            return UpdateChecked(last, states_ok=False, update=NO_BLOB)
        ok = (
            (first.window, base.state.round) == (0, first.round)
            and state_hash(base.state) == first.parameters
            and error_root(self._manifest.model, base.error) == first.error_buffer
            and (first.job, first.lease, first.round) == (last.job, last.lease, last.round)
            and 0 < last.window < len(seat.bounds)
            and seat.leaf(last.window, final) == last
        )
        if not ok:
            return UpdateChecked(last, states_ok=False, update=NO_BLOB)
        return self._encoded_again(command, base, final)

    def _base(self, data: bytes, first: Leaf) -> Start:
        """The start of a unit as far as its update depends on it."""
        if first.error_buffer == NO_DIGEST:
            return Start(decode_global(data, self._manifest.model), None)
        return decode_start(data, self._manifest.model)

    def _encoded_again(self, command: CheckUpdate, base: Start, final: Later) -> UpdateChecked:
        found = encode_unit(self._manifest, base, final, command.error_age)
        left = error_root(self._manifest.model, found.error)
        update = blob_id(manifest_of(encode_update(found.update)))
        return UpdateChecked(command.last, left == command.error_buffer, update)

    def _seat_of_update(self, command: CheckUpdate) -> Seat:
        """Whose text it was does not matter for an encoding."""
        seat = self._seat(command.last.lease, command.last.round, 0)
        return replace(seat, error_buffer=command.first.error_buffer)
