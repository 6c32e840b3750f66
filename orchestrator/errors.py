"""Ends of a run that are nobody's wrong request."""


class RunAbortedError(RuntimeError):
    """The run had to end early (no lane left, disk full); what was finished before is recorded. Exit code 1."""


class CellStoppedError(BaseException):
    """The run was asked to stop: the cell leaves no row. No Exception, so that no method swallows it."""
