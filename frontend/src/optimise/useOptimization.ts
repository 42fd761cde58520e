import { useEffect, useState } from "react";
import { backtests } from "../api/clients";
import { failureOf } from "../api/errors";
import type {
  Optimization,
  OptimizationProgress,
  OptimizationTrial,
} from "../generated/algotrade/v1/backtest_service_pb";

const AGAIN_MS = 1000;
const PAGE = 200;

/** An optimisation and its trials, followed until it has ended. */
export function useOptimization(optimizationId: string) {
  const [optimization, setOptimization] = useState<Optimization>();
  const [progress, setProgress] = useState<OptimizationProgress>();
  const [trials, setTrials] = useState<readonly OptimizationTrial[]>([]);
  const [failure, setFailure] = useState<string>();
  useEffect(() => {
    const cut = new AbortController();
    const { signal } = cut;
    let pageToken = "";
    let known = 0;

    /** Reads the trials behind those that are known. The last page's token serves again, as more come behind it. */
    async function more() {
      for (;;) {
        const page = await backtests.listOptimizationTrials({ optimizationId, pageSize: PAGE, pageToken }, { signal });
        const fresh = page.trials.filter((trial) => trial.number >= known);
        if (fresh.length > 0) setTrials((before) => [...before, ...fresh]);
        known += fresh.length;
        if (!page.nextPageToken) return;
        pageToken = page.nextPageToken;
      }
    }

    async function follow() {
      while (!signal.aborted) {
        try {
          for await (const { payload } of backtests.watchOptimization({ optimizationId }, { signal, timeoutMs: 0 })) {
            if (payload.case === "snapshot") setOptimization(payload.value);
            if (payload.case === "progress") setProgress(payload.value);
            await more();
          }
          return;
        } catch (error) {
          if (signal.aborted) return;
          setFailure(failureOf(error).sentence);
          await new Promise((wake) => setTimeout(wake, AGAIN_MS));
        }
      }
    }

    setTrials([]);
    void follow();
    return () => cut.abort();
  }, [optimizationId]);
  return { optimization, progress: progress ?? optimization?.progress, trials, failure };
}
