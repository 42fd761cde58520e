// The hash of a result, as the server computes it: what went in and every trade, keys in order, without spaces.

import type { Settings } from "./artefact";
import type { Trade } from "./trades";

export async function resultHash(
  artefactHash: string,
  dataHash: string,
  settings: Settings,
  parameters: Readonly<Record<string, string>>,
  trades: readonly Trade[],
): Promise<string> {
  const text = canonical({
    artefact: artefactHash,
    data: dataHash,
    settings,
    parameters,
    trades: trades.map(row),
  });
  return hex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

const row = (trade: Trade): Canonical => [
  trade.side,
  trade.quantity,
  trade.entryTs,
  trade.entryPrice,
  trade.exitTs,
  trade.exitPrice,
  trade.fees,
  trade.pnl,
  trade.exitReason,
  trade.ambiguous,
];

type Canonical = string | boolean | bigint | null | readonly Canonical[] | { readonly [key: string]: Canonical };

function canonical(value: Canonical): string {
  if (typeof value === "bigint") return String(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonical).join(",")}]`;
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key] ?? null)}`).join(",")}}`;
}

const isList = (value: Canonical): value is readonly Canonical[] => Array.isArray(value);

function hex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
