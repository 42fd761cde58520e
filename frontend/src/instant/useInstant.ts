import { useEffect, useRef, useState } from "react";
import { strategies } from "../api/clients";
import { failureOf } from "../api/errors";
import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";
import type { Parameter } from "./artefact";
import { barsOf } from "./given";
import type { Answer, Curve, Order } from "./messages";
import { settingsText } from "./settingsText";
import type { Book } from "./trades";

/** A run that no other followed at once. */
export interface Rested extends Book {
  curve: Curve;
  hash: string;
}

interface Instant {
  /** What can be varied; absent until everything is loaded. */
  parameters?: Parameter[];
  /** Of the newest run. */
  curve?: Curve;
  rested?: Rested;
  failure?: string;
  run(values: Record<string, number>): void;
}

/** A stored backtest's artefact and bars in a worker. Of runs asked for while one is on its way only the newest is made. */
export function useInstant(backtest: Backtest, wanted: boolean): Instant {
  const [parameters, setParameters] = useState<Parameter[]>();
  const [curve, setCurve] = useState<Curve>();
  const [rested, setRested] = useState<Rested>();
  const [failure, setFailure] = useState<string>();
  const worker = useRef<Worker>(undefined);
  const newest = useRef<Curve>(undefined);
  const queue = useRef<{ busy: boolean; number: number; next?: Record<string, number> }>({ busy: false, number: 0 });
  const { artefactHash, dataHash, settings } = backtest;

  const tell = (order: Order, transfer: Transferable[] = []) => worker.current?.postMessage(order, transfer);

  function begin(values: Record<string, number>): void {
    if (!settings) return;
    queue.current = { busy: true, number: queue.current.number + 1 };
    tell({ kind: "run", number: queue.current.number, settings: settingsText(settings), values });
  }

  function hear(answer: Answer): void {
    if (answer.kind === "ran") {
      const { book, hash } = answer;
      if (newest.current) setRested({ ...book, hash, curve: newest.current });
      return;
    }
    if (answer.kind === "loaded") setParameters(answer.parameters);
    else if (answer.kind === "failed") setFailure(answer.message);
    else if (answer.kind === "curve") {
      newest.current = answer.curve;
      setFailure(undefined);
      setCurve(answer.curve);
    }
    const { next } = queue.current;
    queue.current.busy = false;
    if (next) begin(next);
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: what is heard changes nothing of what is loaded
  useEffect(() => {
    if (!wanted) return;
    const mine = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.current = mine;
    mine.onmessage = ({ data }: MessageEvent<Answer>) => hear(data);
    Promise.all([strategies.getArtefact({ artefactHash }), barsOf(dataHash)])
      .then(([{ module }, bars]) => {
        if (worker.current !== mine) return;
        const order: Order = {
          kind: "load",
          module: new Uint8Array(module),
          bars: bars.slice(),
          artefactHash,
          dataHash,
        };
        tell(order, [order.module.buffer, order.bars.buffer]);
      })
      .catch((error) => setFailure(failureOf(error).sentence));
    return () => {
      mine.terminate();
      queue.current = { busy: false, number: 0 };
      setParameters(undefined);
    };
  }, [artefactHash, dataHash, wanted]);

  const run = (values: Record<string, number>) => {
    if (queue.current.busy) queue.current.next = values;
    else begin(values);
  };
  return { parameters, curve, rested, failure, run };
}
