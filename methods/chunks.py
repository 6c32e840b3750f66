"""Large computations in parts, so that memory stays bounded."""


def chunks(count: int, elements: int, limit: int) -> list[slice]:
    """Slices of ``count`` rows of ``elements`` numbers each, such that a slice of several stays within ``limit``."""
    size = max(1, limit // max(1, elements))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
