"""The interface of everything that events come from: files, pipes, folders and cameras."""

from __future__ import annotations

from abc import ABC, abstractmethod

from etram_mmdet.events.recording import Events


class Source(ABC):
    """Events as they come, packet by packet.

    To connect a camera or a program of your own, derive from this class, write the three methods,
    and name the class on the command line: ``tools/live.py MODEL my_module:MyCamera``. The class is
    then called without arguments, and its module must be on Python's path (``PYTHONPATH=.`` for the
    current folder).

    The methods are called by one thread, in this order: ``open`` once, ``read`` until it returns
    ``None`` or nobody wants more, ``close`` once, also after an error. Raise
    :class:`etram_mmdet.utils.errors.InputError` with one sentence for what the user can repair;
    events that were returned before are not lost.

    Attributes:
        width: columns of the sensor, in pixels; set by ``open`` at the latest.
        height: rows of the sensor, in pixels; set by ``open`` at the latest.
        can_wait: True if the sender waits while nobody reads, as files and pipes do. False for a
            camera, which loses events then. Default: False.
        dropped: number of events that the source left out so far, by reason; of bytes, for reasons
            that begin with ``bytes_``. Default: none.
        reached_us: time that the source's clock has reached, in microseconds: no event that follows
            is earlier. So windows end on time in a scene where nothing moves. Default: None, not
            known; then a window ends when a later event comes.

    Examples:
        >>> class Sparks(Source):
        ...     def open(self):
        ...         self.width, self.height = 320, 240
        ...         self.t_us = 0
        ...
        ...     def read(self, timeout_s):
        ...         time.sleep(0.001)  # at most timeout_s
        ...         t = np.arange(self.t_us, self.t_us + 1000, 10)  # int64 microseconds
        ...         self.t_us += 1000
        ...         x = np.random.randint(0, 320, len(t), np.uint16)
        ...         y = np.random.randint(0, 240, len(t), np.uint16)
        ...         return Events(t, x, y, p=(x & 1).astype(np.uint8))
        ...
        ...     def close(self):
        ...         pass
    """

    width: int
    height: int
    can_wait: bool = False

    @property
    def dropped(self) -> dict[str, int]:
        return {}

    @property
    def reached_us(self) -> int | None:
        return None

    @abstractmethod
    def open(self) -> None:
        """Connect, and find out the size of the sensor.

        Raises:
            InputError: there is nothing to connect to, or what is there cannot be used.
        """

    @abstractmethod
    def read(self, timeout_s: float) -> Events | None:
        """The next packet.

        Times are microseconds of the source's own clock. They never fall, neither within a packet
        nor from one packet to the next: what steps back is raised or dropped here.
        :class:`etram_mmdet.deploy.sources.intake.Intake` does that.
        Pixels lie on the sensor.
        Packets of 1 to 10 ms serve best: a window is complete when a later event has come. The
        caller may keep the arrays, so do not write to them again.

        Args:
            timeout_s: longest time to wait, in seconds.

        Returns:
            Events in time order. No events (arrays of length 0) if none came within the timeout.
            ``None`` if the source has ended and no event will follow.

        Raises:
            InputError: the connection broke, or what comes is no events.
        """

    @abstractmethod
    def close(self) -> None:
        """Disconnect. Does nothing if ``open`` failed or was never called."""

    def __enter__(self) -> Source:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
