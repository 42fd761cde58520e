"""What a moving window of samples holds: its extremes and its middle, without looking at every sample again."""

from __future__ import annotations

from functools import lru_cache

from algotrade.engine.ir import F64, I32, Expr, Function, select
from algotrade.engine.limits import MAX_PERIOD
from algotrade.engine.site import Ring, Series, Site


def extreme(site: Site, x: Series, period: Expr, most: int, *, greatest: bool) -> tuple[Expr, Expr]:
    """The greatest (or least) of the last ``period`` samples and how many samples ago it was; the newest among equals.

    The value is NaN and the distance 0 until there are so many. Kept as a queue of those samples that no later one has
    beaten: each is put in once and taken out once, so that a bar costs the same whatever the period.
    """
    f, value, ago = site.f, site.out(), site.f.var(I32, 0)
    x.keep(most)
    queue = Ring(most)
    site.scope.row.rings.append(queue)
    ends = site.slot(F64)  # two i32: the first in the queue, and one past the last
    with x.step():
        first, mask = x.place()
        now = x.count()
        best = f.call(
            _best(),
            ends.address(),
            queue.address(site.scope.base),
            queue.mask(),
            first,
            mask,
            now,
            period,
            int(greatest),
        )
        distance = f.let(now - best)
        with f.when(now >= period):
            f.set(value, x.ago(distance))
            f.set(ago, distance)
    return value, ago


@lru_cache(maxsize=1)
def _best() -> Function:
    """Take the newest sample into a queue; give the number of the best.

    (address of the queue's two ends, queue, its mask, samples, their mask, number of the newest, period, 1 for the
    greatest or 0 for the least)
    """
    f = Function("best", [I32] * 8, I32, loops=MAX_PERIOD)
    ends, queue, queue_mask, samples, mask, now, period, greatest = f.args

    def queued(at: Expr) -> Expr:
        return queue + (at & queue_mask).op2("shl", 3)

    def sample(number: Expr) -> Expr:
        return (samples + (number & mask).op2("shl", 3)).load(F64)

    head, tail = f.var(I32, ends.load(I32)), f.var(I32, ends.load(I32, 4))
    with f.when(head.ne(tail) & (queued(head).load(I32) <= now - period)):
        f.set(head, head + 1)
    newest = f.let(sample(now))
    last = sample(queued(tail - 1).load(I32))
    with f.while_(head.ne(tail) & select(greatest, last <= newest, last >= newest)):
        f.set(tail, tail - 1)
    f.store(queued(tail), now)
    f.store(ends, head)
    f.store(ends, tail + 1, 4)
    f.ret(queued(head).load(I32))
    return f


def median(site: Site, x: Series, period: Expr, most: int) -> Expr:
    """The middle of the last ``period`` samples, the mean of the two in the middle where it is even; NaN until full.

    The window is kept sorted: the sample that leaves gives its place to the one that comes.
    """
    f, out = site.f, site.out()
    x.keep(most + 1)
    ordered = Ring(most)
    site.scope.row.rings.append(ordered)
    with x.step():
        first, now = f.let(ordered.address(site.scope.base)), x.count()
        with f.when(now > period) as full:
            f.run(_exchange(), first, period, f.call(_find(), first, period, x.ago(period)), x.value)
        with f.otherwise(full):
            f.run(_exchange(), first, now, now - 1, x.value)
        with f.when(now >= period):
            middle = f.let(period.op2("shr_u", 1))
            upper = (first + middle.op2("shl", 3)).load(F64)
            lower = (first + (middle - 1).op2("shl", 3)).load(F64)
            f.set(out, select(period & 1, upper, (upper + lower) * 0.5))
    return out


@lru_cache(maxsize=1)
def _find() -> Function:
    """Where a value stands among sorted ones: (first, count, value), the value being there."""
    f = Function("find", [I32, I32, F64], I32, loops=MAX_PERIOD.bit_length())
    first, count, value = f.args
    low, high = f.var(I32, 0), f.var(I32, count - 1)
    with f.while_(low < high):
        middle = f.let((low + high).op2("shr_u", 1))
        with f.when((first + middle.op2("shl", 3)).load(F64) < value) as below:
            f.set(low, middle + 1)
        with f.otherwise(below):
            f.set(high, middle)
    f.ret(low)
    return f


@lru_cache(maxsize=1)
def _exchange() -> Function:
    """Put a value in the place of another among sorted ones, then move it to its own: (first, count, at, value)."""
    f = Function("exchange", [I32, I32, I32, F64], loops=2 * MAX_PERIOD)
    first, count, at, value = f.args

    def slot(index: Expr) -> Expr:
        return first + index.op2("shl", 3)

    after, before = at + (at + 1 < count), at - (at > 0)  # never outside, as both are read even where they do not count
    with f.while_((at + 1 < count) & (slot(after).load(F64) < value)):
        f.store(slot(at), slot(after).load(F64))
        f.set(at, after)
    with f.while_((at > 0) & (slot(before).load(F64) > value)):
        f.store(slot(at), slot(before).load(F64))
        f.set(at, before)
    f.store(slot(at), value)
    return f
