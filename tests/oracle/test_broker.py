"""The oracle's one search, held to its definition."""

from __future__ import annotations

from oracle.broker import greatest_cost


def test_greatest_cost_leaves_no_unit_unused() -> None:
    def fee(cost: int) -> int:
        return -(-cost // 1000)

    for budget in (0, 1, 2, 1000, 1001, 1002, 123_456_789_012):
        cost = greatest_cost(budget, fee)
        assert cost + fee(cost) <= budget < cost + 1 + fee(cost + 1)
