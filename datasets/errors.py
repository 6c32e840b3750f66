"""The one exception for a mistake in a request: what is wrong, what was seen, what is allowed, what to do."""

import difflib
from collections.abc import Iterable


class RequestError(Exception):
    """The request cannot be carried out as it stands; the command line prints it and exits with 2.

    ``problem`` says what is wrong with the value seen; ``allowed`` what would be right; ``remedy`` what to do.
    """

    def __init__(self, problem: str, *, allowed: str | None = None, remedy: str | None = None) -> None:
        self.problem = problem
        self.allowed = allowed
        self.remedy = remedy
        super().__init__("\n".join(self.lines()))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (Ray): the default reduction would lose the keyword arguments.
        return _rebuild, (type(self), self.problem, self.allowed, self.remedy)

    def lines(self) -> list[str]:
        """The message, a line each for the problem, what is allowed and the remedy."""
        lines = [self.problem]
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.remedy:
            lines.append(f"  to do:   {self.remedy}")
        return lines


class MissingDataError(RequestError):
    """A dataset is not where it should be."""


def _rebuild(kind: type[RequestError], problem: str, allowed: str | None, remedy: str | None) -> RequestError:
    return kind(problem, allowed=allowed, remedy=remedy)


def unknown_name(kind: str, name: str, known: Iterable[str], remedy: str | None = None) -> RequestError:
    """The error for a ``name`` that is no ``kind`` (such as "method"), with the nearest of the ``known`` names."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    return RequestError(f"unknown {kind} '{name}'{hint}", allowed=", ".join(names) or "(none)", remedy=remedy)
