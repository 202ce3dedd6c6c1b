"""Multi-Krum (Blanchard et al. 2017): the mean of those that stand close to many others."""

from dpin.compute.aggregation.gram import Gram, squared_distance


def chosen(gram: Gram, liars: int) -> list[int]:
    """The n - f - 2 (at least one) rows whose nearest n - f - 2 neighbours are nearest.

    Of equal scores the earlier row wins; the caller puts rows into an order of their content.
    """
    count = len(gram)
    close = max(1, count - liars - 2)
    scores = []
    for row in range(count):
        distances = sorted(
            squared_distance(gram, row, other) for other in range(count) if other != row
        )
        scores.append((sum(distances[:close]), row))
    return sorted(row for _, row in sorted(scores)[:close])
