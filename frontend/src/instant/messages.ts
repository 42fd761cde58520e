import type { Parameter, Port, Series, Settings } from "./artefact";
import type { Book } from "./trades";

/** What the page tells the worker: first what to run, then each run, under a number higher than the one before. */
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

/** What comes of a run at once. */
export interface Curve {
  parameters: Record<string, string>;
  equity: Float64Array<ArrayBuffer>;
  milliseconds: number;
}

export type Answer =
  | { kind: "loaded"; parameters: Parameter[]; ports: Port[] }
  | { kind: "series"; series: Series }
  | { kind: "curve"; curve: Curve }
  /** Of the run of the newest curve, unless another is asked for soon. */
  | { kind: "ran"; book: Book; hash: string }
  | { kind: "failed"; message: string };
