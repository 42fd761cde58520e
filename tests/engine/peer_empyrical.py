"""empyrical's figures of a run; run by test_metrics_peers.py with the interpreter of .venv-peers.

Reads {"returns": […], "benchmark": […], "year": periods a year} from standard input, prints a JSON object.
"""

import json
import sys
import warnings

warnings.filterwarnings("ignore")

import empyrical  # noqa: E402
import numpy as np  # noqa: E402
import scipy.stats  # noqa: E402


def main():
    given = json.load(sys.stdin)
    returns, held, year = np.array(given["returns"]), np.array(given["benchmark"]), given["year"]
    print(
        json.dumps(
            {
                "volatility": 100 * empyrical.annual_volatility(returns, annualization=year),
                "sharpe": empyrical.sharpe_ratio(returns, annualization=year),
                "sortino": empyrical.sortino_ratio(returns, annualization=year),
                "max_drawdown": 100 * empyrical.max_drawdown(returns),
                "omega": empyrical.omega_ratio(returns),
                "value_at_risk": 100 * empyrical.value_at_risk(returns),
                "tail_ratio": empyrical.tail_ratio(returns),
                "beta": empyrical.beta(returns, held),
                "alpha": 100 * empyrical.alpha(returns, held, annualization=year),
                "total_return": 100 * empyrical.cum_returns_final(returns),
                "skewness": scipy.stats.skew(returns),
                "kurtosis": scipy.stats.kurtosis(returns),
                "information_ratio": empyrical.excess_sharpe(returns, held) * year**0.5,
            }
        )
    )


if __name__ == "__main__":
    main()
