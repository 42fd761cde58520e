// Bars as an artefact reads them: records of 48 bytes, little endian.

import type { BarColumns } from "../generated/algotrade/v1/types_pb";
import { SCALE } from "./units";

export const BAR_BYTES = 48;
const FIELD = 8;

/** Lays columns out as records. */
export function records(columns: BarColumns): Uint8Array<ArrayBuffer> {
  const { timesNanos, opensE8, highsE8, lowsE8, closesE8, volumes } = columns;
  const bytes = new Uint8Array(timesNanos.length * BAR_BYTES);
  const view = new DataView(bytes.buffer);
  const whole = [timesNanos, opensE8, highsE8, lowsE8, closesE8];
  for (let row = 0; row < timesNanos.length; row++) {
    for (const [column, values] of whole.entries()) {
      view.setBigInt64(row * BAR_BYTES + column * FIELD, values[row] ?? 0n, true);
    }
    view.setFloat64(row * BAR_BYTES + whole.length * FIELD, volumes[row] ?? 0, true);
  }
  return bytes;
}

export interface Candle {
  ms: number;
  open: number;
  high: number;
  low: number;
  close: number;
}

/** Records as a chart draws them. */
export function candlesOf(bars: Uint8Array<ArrayBuffer>): Candle[] {
  const view = new DataView(bars.buffer);
  return Array.from({ length: bars.length / BAR_BYTES }, (_, row) => {
    const at = (column: number) => Number(view.getBigInt64(row * BAR_BYTES + column * FIELD, true));
    return {
      ms: Math.floor(at(0) / 1e6),
      open: at(1) / SCALE,
      high: at(2) / SCALE,
      low: at(3) / SCALE,
      close: at(4) / SCALE,
    };
  });
}
