import type { Parameter, Port, Run, Series, Settings } from "./artefact";

/** What the page tells the worker: first what to run, then each run. */
export type Order =
  | {
      kind: "load";
      module: Uint8Array<ArrayBuffer>;
      bars: Uint8Array<ArrayBuffer>;
      artefactHash: string;
      dataHash: string;
    }
  | { kind: "run"; number: number; settings: Settings; values: Record<string, number> }
  | { kind: "series"; settings: Settings; values: Record<string, number>; wanted: readonly string[] };

export interface Result {
  run: Run;
  hash: string;
  milliseconds: number;
}

export type Answer =
  | { kind: "loaded"; parameters: Parameter[]; ports: Port[] }
  | { kind: "series"; series: Series }
  | { kind: "ran"; number: number; result: Result }
  | { kind: "failed"; message: string };
