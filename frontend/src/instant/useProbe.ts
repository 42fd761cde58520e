import { useCallback, useEffect, useRef, useState } from "react";
import { backtests } from "../api/clients";
import { failureOf } from "../api/errors";
import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";
import type { Port, Series } from "./artefact";
import { barsOf } from "./given";
import type { Answer, Order } from "./messages";
import { settingsText } from "./settingsText";

interface Probe {
  /** The numbers that the strategy computes; absent until they can be asked for. */
  ports?: readonly Port[];
  series?: Series;
  failure?: string;
}

/** What ports of a stored backtest's strategy held at every bar, computed in a worker; `ask` says which, under what. */
export function useProbe(backtest: Backtest) {
  const [probe, setProbe] = useState<Probe>({});
  const worker = useRef<Worker>(undefined);
  const { backtestId, dataHash, settings } = backtest;

  useEffect(() => {
    const mine = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.current = mine;
    mine.onmessage = ({ data }: MessageEvent<Answer>) => {
      if (data.kind === "loaded") setProbe({ ports: data.ports });
      if (data.kind === "series") setProbe(({ ports }) => ({ ports, series: data.series }));
      if (data.kind === "failed") setProbe({ failure: data.message });
    };
    Promise.all([backtests.getProbe({ backtestId }), barsOf(dataHash)])
      .then(([{ module, artefactHash }, bars]) => {
        if (worker.current !== mine) return;
        const given = { module: new Uint8Array(module), bars: bars.slice() };
        const order: Order = { kind: "load", ...given, artefactHash, dataHash };
        mine.postMessage(order, [given.module.buffer, given.bars.buffer]);
      })
      .catch((error) => setProbe({ failure: failureOf(error).sentence }));
    return () => mine.terminate();
  }, [backtestId, dataHash]);

  const ask = useCallback(
    (values: Record<string, number>, wanted: readonly string[]) => {
      if (!settings) return;
      const order: Order = { kind: "series", settings: settingsText(settings), values, wanted };
      worker.current?.postMessage(order);
    },
    [settings],
  );
  return { ...probe, ask };
}
