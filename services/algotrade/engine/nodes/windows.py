"""What a moving window of samples holds: its sum, extremes, middle, spread, line and rank.

A running sum from which samples are taken again keeps the rounding of all that ever passed through it, which shows
where prices are large and move little, or stand still after moving. So sums over a window carry their rounding errors
along (`slide`), which leaves them as exact as a sum of the window alone, and what is made of squares or products is
summed anew at each bar, as distances from the newest sample: only that is exact there.
"""

from __future__ import annotations

from functools import lru_cache

from algotrade.engine.ir import F64, I32, Expr, Function, Type, Var, const, select
from algotrade.engine.limits import MAX_PERIOD
from algotrade.engine.site import Ring, Series, Site


def total(site: Site, x: Series, period: Expr, most: int) -> Expr:
    """Sum of the last ``period`` samples; NaN until there are so many."""
    f, out = site.f, site.out()
    x.keep(most + 1)
    state = site.block(F64, F64, I32)
    with x.step():
        gone = f.var(F64, 0.0)
        with f.when(x.count() > period):
            f.set(gone, x.ago(period))
        sum = f.let(f.call(slide(), state, x.value, gone))
        with f.when(x.count() >= period):
            f.set(out, sum)
    return out


@lru_cache(maxsize=1)
def slide() -> Function:
    """Add a sample to a sum and take another away: (address of the state, what comes, what goes) → the sum.

    The state is the sum, its rounding error (T. J. Dekker, A floating-point technique, 1971) and how many of the
    window's samples are not zero: without any, the sum is exactly zero.
    """
    f = Function("slide", [I32, F64, F64], F64)
    state, comes, goes = f.args
    sum, error = f.var(F64, state.load(F64)), f.var(F64, state.load(F64, 8))
    for term in (comes, goes * -1.0):
        term = f.let(term)
        larger = f.let(sum + term)
        part = f.let(larger - sum)
        f.set(error, error + ((sum - (larger - part)) + (term - part)))
        f.set(sum, larger)
    rest = f.let(sum + error)
    f.set(error, error - (rest - sum))
    f.set(sum, rest)
    terms = f.let(state.load(I32, 16) + comes.ne(0.0) - goes.ne(0.0))
    with f.when(terms.eq(0)):
        f.set(sum, 0.0)
        f.set(error, 0.0)
    f.store(state, sum)
    f.store(state, error, 8)
    f.store(state, terms, 16)
    f.ret(sum)
    return f


@lru_cache(maxsize=1)
def clear() -> Function:
    """Begin a sum of `slide` anew: (address of the state)."""
    f = Function("clear", [I32])
    state = f.args[0]
    for offset in (0, 8):
        f.store(state, const(F64, 0.0), offset)
    f.store(state, const(I32, 0), 16)
    return f


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


def limits(site: Site, high: Series, low: Series, period: Expr, most: int) -> tuple[Expr, Expr]:
    """The greatest of one series and the least of another."""
    top, _ = extreme(site, high, period, most, greatest=True)
    bottom, _ = extreme(site, low, period, most, greatest=False)
    return top, bottom


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


def _window(name: str, arguments: int = 0) -> tuple[Function, Var, Expr, Expr]:
    """A function over a window: (address of the samples, mask, newest index, how many, further numbers).

    Gives also a counter that the loop runs down to zero, the newest sample, and the sample at the counter before the
    newest as its distance from it.
    """
    further: list[Type] = [F64] * arguments
    f = Function(name, [I32, I32, I32, I32, *further], F64, loops=MAX_PERIOD)
    first, mask, newest, samples = f.args[:4]
    left = f.var(I32, samples)
    last = f.let(_at(first, mask, newest))
    return f, left, last, _at(first, mask, newest - left) - last


def _at(first: Expr, mask: Expr, index: Expr) -> Expr:
    return (first + (index & mask).op2("shl", 3)).load(F64)


@lru_cache(maxsize=1)
def lead() -> Function:
    """How far the mean of a window lies above its newest sample: exactly zero where all are equal."""
    f, left, _, distance = _window("lead")
    sum = f.var(F64, 0.0)
    with f.while_(left.ne(0)):
        f.set(left, left - 1)
        f.set(sum, sum + distance)
    f.ret(sum / f.args[3].to(F64))
    return f


@lru_cache(maxsize=1)
def absolute() -> Function:
    """The mean distance of a window's samples from a point, given as its own distance from the newest sample."""
    f, left, _, distance = _window("absolute", 1)
    sum = f.var(F64, 0.0)
    with f.while_(left.ne(0)):
        f.set(left, left - 1)
        f.set(sum, sum + (distance - f.args[4]).op1("abs"))
    f.ret(sum / f.args[3].to(F64))
    return f


@lru_cache(maxsize=1)
def below() -> Function:
    """How many of the samples before the newest are less than it."""
    f, left, _, distance = _window("below")
    sum = f.var(F64, 0.0)
    with f.while_(left.ne(0)):
        f.set(sum, sum + (distance < 0.0).to(F64))
        f.set(left, left - 1)
    f.ret(sum)
    return f


@lru_cache(maxsize=1)
def slope() -> Function:
    """The slope, a sample, of the line that fits a window best (least squares)."""
    f, left, _, distance = _window("slope")
    n = f.let(f.args[3].to(F64))
    sum, x = f.var(F64, 0.0), f.var(F64, (1.0 - n) * 0.5)
    with f.while_(left.ne(0)):
        f.set(left, left - 1)
        f.set(sum, sum + x * distance)
        f.set(x, x + 1.0)
    f.ret(sum / (n * (n * n - 1.0) / 12.0))
    return f


@lru_cache(maxsize=1)
def products() -> Function:
    """The sum of products of two windows' distances from their own means; of one with itself, of squares.

    Arguments: address and mask of either's samples, the newest index of both, and how many.
    """
    f = Function("products", [I32] * 6, F64, loops=MAX_PERIOD)
    a, a_mask, b, b_mask, newest, samples = f.args
    left, n = f.var(I32, samples), f.let(samples.to(F64))
    last_a, last_b = f.let(_at(a, a_mask, newest)), f.let(_at(b, b_mask, newest))
    mean_a, mean_b, sum = f.var(F64, 0.0), f.var(F64, 0.0), f.var(F64, 0.0)
    from_a, from_b = _at(a, a_mask, newest - left) - last_a, _at(b, b_mask, newest - left) - last_b
    with f.while_(left.ne(0)):
        f.set(left, left - 1)
        f.set(mean_a, mean_a + from_a)
        f.set(mean_b, mean_b + from_b)
    f.set(mean_a, mean_a / n)
    f.set(mean_b, mean_b / n)
    f.set(left, samples)
    with f.while_(left.ne(0)):
        f.set(left, left - 1)
        f.set(sum, sum + (from_a - mean_a) * (from_b - mean_b))
    f.ret(sum)
    return f


def variance(site: Site, x: Series, period: Expr, most: int) -> Expr:
    """The population variance of the last ``period`` samples; NaN until there are so many."""
    f, out = site.f, site.out()
    x.keep(most)
    with x.step(), f.when(x.count() >= period):
        f.set(out, f.call(products(), *x.place(), *x.place(), x.count(), period) / period.to(F64))
    return out
