/* The yardstick: one strategy written out by hand. SMA(fast) crosses SMA(slow), long only, all in, next-open fills.
   Two loops over the same bars: floats only, and with the exact integer ledger (units of 1e-8).
   Built by backtest_sma.py: cc -O3 -march=native -shared -fPIC. */
#include <math.h>
#include <stdint.h>

typedef struct { int64_t ts, open, high, low, close; double volume; } bar;
typedef struct { double equity, drawdown; int64_t trades, open; } result;

#define SCALE 100000000
typedef __int128 wide;

static int64_t ceil_div(wide a, wide b) { return (int64_t)((a + b - 1) / b); }

/* Prices as floats in their own columns, as a researcher would hold them. fee is a fraction of one. */
void float_loop(const double *open, const double *close, int64_t n, int64_t fast, int64_t slow, double fee,
                double cash, double *curve, result *out)
{
    double sum_fast = 0, sum_slow = 0, units = 0, peak = cash, drawdown = 0, before = NAN;
    int64_t trades = 0, pending = 0;
    for (int64_t i = 0; i < n; i++) {
        if (pending > 0) { units = cash / (open[i] * (1 + fee)); cash = 0; }
        if (pending < 0) { cash = units * open[i] * (1 - fee); units = 0; trades++; }
        pending = 0;
        sum_fast += close[i] - (i >= fast ? close[i - fast] : 0);
        sum_slow += close[i] - (i >= slow ? close[i - slow] : 0);
        if (i >= slow - 1) {
            double now = sum_fast / fast - sum_slow / slow;
            if (before <= 0 && now > 0 && units == 0) pending = 1;
            if (before >= 0 && now < 0 && units > 0) pending = -1;
            before = now;
        }
        double equity = cash + units * close[i];
        if (equity > peak) peak = equity;
        if (peak - equity > drawdown * peak) drawdown = (peak - equity) / peak;
        curve[i] = equity;
    }
    *out = (result){cash + units * close[n - 1], drawdown, trades, units > 0};
}

/* The same decisions; money, prices and quantities exact, rounded against the trader. fee in units of 1e-8 basis
   points, so a fraction of one in units of 1e-12. */
void ledger_loop(const bar *bars, int64_t n, int64_t fast, int64_t slow, int64_t fee, int64_t cash, double *curve,
                 result *out)
{
    const int64_t ONE = 1000000000000;
    double sum_fast = 0, sum_slow = 0, peak = (double)cash / SCALE, drawdown = 0, before = NAN;
    int64_t units = 0, trades = 0, pending = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t price = bars[i].open;
        if (pending > 0) {
            int64_t cost = (int64_t)((wide)cash * ONE / (ONE + fee));
            while (cost + 1 + ceil_div((wide)(cost + 1) * fee, ONE) <= cash) cost++;
            while (cost + ceil_div((wide)cost * fee, ONE) > cash) cost--;
            units = (int64_t)((wide)cost * SCALE / price);
            cost = ceil_div((wide)units * price, SCALE);
            cash -= cost + ceil_div((wide)cost * fee, ONE);
        } else if (pending < 0) {
            int64_t proceeds = (int64_t)((wide)units * price / SCALE);
            cash += proceeds - ceil_div((wide)proceeds * fee, ONE);
            units = 0;
            trades++;
        }
        pending = 0;
        double close = (double)bars[i].close / SCALE;
        sum_fast += close - (i >= fast ? (double)bars[i - fast].close / SCALE : 0);
        sum_slow += close - (i >= slow ? (double)bars[i - slow].close / SCALE : 0);
        if (i >= slow - 1) {
            double now = sum_fast / fast - sum_slow / slow;
            if (before <= 0 && now > 0 && units == 0) pending = 1;
            if (before >= 0 && now < 0 && units > 0) pending = -1;
            before = now;
        }
        double equity = ((double)cash + (double)units * close) / SCALE;
        if (equity > peak) peak = equity;
        if (peak - equity > drawdown * peak) drawdown = (peak - equity) / peak;
        curve[i] = equity;
    }
    *out = (result){curve[n - 1], drawdown, trades, units > 0};
}
