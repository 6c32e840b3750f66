"""Ends of a run that are nobody's wrong request."""


class RunAbortedError(RuntimeError):
    """The run had to end early (no lane left, disk full); what was finished before is recorded. Exit code 1."""
