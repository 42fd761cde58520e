// Bars from a file: columns timestamp, open, high, low, close, volume, in any order.

import { units } from "../instant/units";

export const MOST_BARS = 120_000;
const COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"] as const;
const NAMED = 5; // wrong lines that are named

export interface Bars {
  timesNanos: bigint[];
  opensE8: bigint[];
  highsE8: bigint[];
  lowsE8: bigint[];
  closesE8: bigint[];
  volumes: number[];
}

export class BarsError extends Error {}

/** Reads a file's bars, by time. Raises BarsError naming columns or lines. */
export function readBars(text: string): Bars {
  const lines = text.split(/\r?\n/);
  const names = (lines[0] ?? "").split(",").map((name) => name.trim().toLowerCase());
  const missing = COLUMNS.filter((name) => !names.includes(name));
  if (missing.length > 0) throw new BarsError(`The first line has to name these columns too: ${missing.join(", ")}.`);
  const places = COLUMNS.map((name) => names.indexOf(name));
  const rows: [bigint, ...bigint[]][] = [];
  const volumes = new Map<bigint, number>();
  const wrong: string[] = [];
  lines.slice(1).forEach((line, index) => {
    if (line.trim() === "") return;
    const cells = line.split(",");
    const [stamp = "", open = "", high = "", low = "", close = "", volume = ""] = places.map((at) => cells[at]?.trim());
    try {
      const ts = nanos(stamp);
      rows.push([ts, units(open), units(high), units(low), units(close)]);
      volumes.set(ts, finite(volume));
    } catch (error) {
      wrong.push(`line ${index + 2}: ${error instanceof Error ? error.message : error}`);
    }
  });
  if (wrong.length > 0) {
    const more = wrong.length > NAMED ? `, and ${wrong.length - NAMED} more` : "";
    throw new BarsError(`${wrong.slice(0, NAMED).join("; ")}${more}.`);
  }
  if (rows.length === 0) throw new BarsError("The file has no bars.");
  if (rows.length > MOST_BARS) throw new BarsError(`The file has ${rows.length} bars; at most ${MOST_BARS} are taken.`);
  rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const column = (at: number) => rows.map((row) => row[at] ?? 0n);
  const timesNanos = column(0);
  return {
    timesNanos,
    opensE8: column(1),
    highsE8: column(2),
    lowsE8: column(3),
    closesE8: column(4),
    volumes: timesNanos.map((ts) => volumes.get(ts) ?? 0),
  };
}

function finite(text: string): number {
  const value = text === "" ? Number.NaN : Number(text);
  if (!Number.isFinite(value) || value < 0) throw new RangeError(`${text || "nothing"} is no volume`);
  return value;
}

/** A stamp in ISO 8601 (UTC where no zone is named), or an epoch in seconds, ms, µs or ns, told by its digits. */
function nanos(stamp: string): bigint {
  if (/^\d+$/.test(stamp)) {
    const digits = stamp.length;
    const scale = digits <= 10 ? 1_000_000_000n : digits <= 13 ? 1_000_000n : digits <= 16 ? 1000n : 1n;
    return BigInt(stamp) * scale;
  }
  const zoned = /(Z|[+-]\d\d:?\d\d)$/i.test(stamp) || !/[T ]\d/.test(stamp) ? stamp : `${stamp}Z`;
  const ms = Date.parse(zoned.replace(" ", "T"));
  if (!stamp || Number.isNaN(ms)) throw new RangeError(`${stamp || "nothing"} is no time`);
  return BigInt(ms) * 1_000_000n;
}
