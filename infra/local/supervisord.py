"""supervisord, with one defect mended: `python -m infra.local.supervisord` in place of `supervisord`.

A pipe of a service stays registered when the service has ended, and the next pipe with that number is polled in its
place. Where that is the input of a service that has closed it, every poll returns at once with an error, which
supervisord overlooks: it keeps half a core busy until it ends (https://github.com/Supervisor/supervisor/issues/807).
"""

from __future__ import annotations

import select

from supervisor import poller, supervisord


class Poller(poller.PollPoller):  # type: ignore[misc] # supervisor has no types
    """Forgets descriptors of which there is nothing but an error to tell, as those that are not open."""

    def _ignore_invalid(self, fd: int, eventmask: int) -> bool:
        if eventmask & select.POLLERR and not eventmask & (self.READ | self.WRITE):
            eventmask = select.POLLNVAL
        return bool(super()._ignore_invalid(fd, eventmask))


if __name__ == "__main__":
    poller.Poller = Poller
    supervisord.main()
