import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { backtests } from "../api/clients";
import { failureOf } from "../api/errors";
import {
  type Backtest,
  type BacktestProgress,
  BacktestState,
  type BacktestTrade,
} from "../generated/algotrade/v1/backtest_service_pb";
import { candlesOf } from "../instant/bars";
import { barsOf } from "../instant/given";

const AGAIN_MS = 1000;

/** A backtest as it is, followed until it has ended. */
export function useBacktest(backtestId: string) {
  const [backtest, setBacktest] = useState<Backtest>();
  const [progress, setProgress] = useState<BacktestProgress>();
  const [failure, setFailure] = useState<string>();
  useEffect(() => {
    const cut = new AbortController();
    let after: bigint | undefined;
    async function follow() {
      for (;;) {
        try {
          for await (const { sequence, payload } of backtests.watchBacktest(
            { backtestId, afterSequence: after },
            { signal: cut.signal, timeoutMs: 0 },
          )) {
            after = sequence;
            if (payload.case === "snapshot") setBacktest(payload.value);
            if (payload.case === "progress") setProgress(payload.value);
          }
          return;
        } catch (error) {
          if (cut.signal.aborted) return;
          if (ConnectError.from(error).code === Code.NotFound) {
            setFailure(failureOf(error).sentence);
            return;
          }
          await new Promise((wake) => setTimeout(wake, AGAIN_MS));
        }
      }
    }
    void follow();
    return () => cut.abort();
  }, [backtestId]);
  return { backtest, progress: progress ?? backtest?.progress, failure };
}

/** Everything that is drawn of a backtest that has succeeded. */
export function useDrawn(backtest: Backtest) {
  const { backtestId, dataHash } = backtest;
  return useQuery({
    queryKey: ["backtest", backtestId, "drawn"],
    enabled: backtest.state === BacktestState.SUCCEEDED,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async () => {
      const [bars, { points }, trades] = await Promise.all([
        barsOf(dataHash),
        backtests.getBacktestEquity({ backtestId, maxPoints: 2000 }),
        allTrades(backtestId),
      ]);
      const curve = (pick: (point: (typeof points)[number]) => string) =>
        points.map((point) => ({ ms: point.time ? timestampMs(point.time) : 0, value: Number(pick(point)) }));
      return {
        candles: candlesOf(bars),
        equity: curve((point) => point.equity),
        drawdown: curve((point) => point.drawdown),
        benchmark: curve((point) => point.benchmark),
        trades,
      };
    },
  });
}

const MOST_TRADES = 5000;

async function allTrades(backtestId: string): Promise<BacktestTrade[]> {
  const trades: BacktestTrade[] = [];
  let pageToken = "";
  do {
    const page = await backtests.listBacktestTrades({ backtestId, pageSize: 1000, pageToken });
    trades.push(...page.trades);
    pageToken = page.nextPageToken;
  } while (pageToken && trades.length < MOST_TRADES);
  return trades;
}
