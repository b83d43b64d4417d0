"""TensorBoard's event files, written without its background thread: an error comes where it was made."""

import os
import socket
import time
from pathlib import Path

from smoothmix.utils.errors import UserError


class EventFile:
    """A new event file in `folder`; events from step `first_dropped` on in older ones no longer count.

    Raises:
        UserError: the file system refuses (so do all methods).
    """

    def __init__(self, folder: Path, first_dropped: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # takes a moment
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2, summary_pb2
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        try:
            folder.mkdir(exist_ok=True)
            self._file = open(self.path, "wb")  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise self._refused(error) from error
        self._records = RecordWriter(self._file)
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=first_dropped, file_version="brain.Event:2")
        self._write(step=first_dropped, session_log=start)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to the curve `name`."""
        point = self._summary.Summary.Value(tag=name, simple_value=value)
        self._write(step=step, summary=self._summary.Summary(value=[point]))

    def flush(self) -> None:
        """Hand what was added to the operating system."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """End the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    def _write(self, **event: object) -> None:
        try:
            self._records.write(self._event.Event(wall_time=time.time(), **event).SerializeToString())
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self.path} ({error}); free space or fix its folder, and run again")
