/* The yardstick of backtest_stop.py: RSI(14) below 30 with MACD(12, 26, 9) rising above its signal buys, RSI above 70
   sells, a stop 2 % below the entry; long only, all in, next-open fills, indicators as TA-Lib seeds them. */
#include <stdint.h>

typedef struct { double equity, drawdown; int64_t trades, open; } result;

enum { RSI = 14, FAST = 12, SLOW = 26, SIGNAL = 9 };

void dip_loop(const double *open, const double *low, const double *close, int64_t n, double fee, double stop,
              double cash, double *curve, result *out)
{
    double gain = 0, loss = 0, fast = 0, slow = 0, signal = 0, hist = 0, units = 0, level = 0, peak = cash, drawdown = 0;
    int64_t trades = 0, pending = 0;
    for (int64_t i = 0; i < n; i++) {
        if (pending > 0) { units = cash / (open[i] * (1 + fee)); cash = 0; level = open[i] * (1 - stop); }
        if (pending < 0) { cash = units * open[i] * (1 - fee); units = 0; trades++; }
        pending = 0;
        if (units > 0 && low[i] <= level) {
            cash = units * (open[i] < level ? open[i] : level) * (1 - fee);
            units = 0;
            trades++;
        }
        if (i > 0) {
            double change = close[i] - close[i - 1], up = change > 0 ? change : 0, down = change < 0 ? -change : 0;
            if (i <= RSI) { gain += up / RSI; loss += down / RSI; }
            else { gain += (up - gain) / RSI; loss += (down - loss) / RSI; }
        }
        if (i < SLOW) {
            slow += close[i] / SLOW;
            if (i >= SLOW - FAST) fast += close[i] / FAST;
        } else {
            slow += (close[i] - slow) * (2.0 / (SLOW + 1));
            fast += (close[i] - fast) * (2.0 / (FAST + 1));
        }
        if (i >= SLOW - 1) {
            double macd = fast - slow;
            if (i < SLOW - 1 + SIGNAL) signal += macd / SIGNAL;
            else signal += (macd - signal) * (2.0 / (SIGNAL + 1));
            hist = macd - signal;
        }
        if (i >= SLOW + SIGNAL - 2) {
            double rsi = 100 * gain / (gain + loss);
            if (units == 0 && rsi < 30 && hist > 0) pending = 1;
            if (units > 0 && rsi > 70) pending = -1;
        }
        double equity = cash + units * close[i];
        if (equity > peak) peak = equity;
        if (peak - equity > drawdown * peak) drawdown = (peak - equity) / peak;
        curve[i] = equity;
    }
    *out = (result){cash + units * close[n - 1], drawdown, trades, units > 0};
}
