// Numbers and times for people. Amounts come as decimal strings and are shown without passing through anything that
// could change them beyond rounding.

import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampMs } from "@bufbuild/protobuf/wkt";

const CENTS = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const WHOLE = new Intl.NumberFormat("en-US");

export function money(text: string): string {
  return text === "" ? "–" : CENTS.format(Number(text));
}

export function signed(text: string): string {
  if (text === "") return "–";
  return `${Number(text) > 0 ? "+" : ""}${money(text)}`;
}

/** A price or quantity with as many decimals as it has. */
export function exact(text: string): string {
  if (text === "") return "–";
  const [whole = "", fraction] = text.split(".");
  const grouped = WHOLE.format(Number(whole));
  return fraction ? `${whole.startsWith("-") && !grouped.startsWith("-") ? "-" : ""}${grouped}.${fraction}` : grouped;
}

export function tone(text: string): "teal" | "red" | undefined {
  const value = Number(text);
  return value > 0 ? "teal" : value < 0 ? "red" : undefined;
}

export function metric(value: string, unit: string): string {
  if (value === "") return "–";
  const number = Number(value);
  if (unit === "percent") return `${number.toFixed(2)} %`;
  if (unit === "money") return money(value);
  if (unit === "count") return number.toLocaleString("en-US");
  if (unit === "seconds") return duration(number);
  return number.toFixed(3);
}

export function duration(seconds: number): string {
  if (seconds >= 2 * 86_400) return `${(seconds / 86_400).toFixed(1)} days`;
  if (seconds >= 7200) return `${(seconds / 3600).toFixed(1)} h`;
  if (seconds >= 120) return `${(seconds / 60).toFixed(1)} min`;
  return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

export type Zone = "UTC" | "local";

export function moment(time: Timestamp | undefined, zone: Zone): string {
  return time ? momentMs(timestampMs(time), zone) : "–";
}

export function momentMs(ms: number, zone: Zone): string {
  return CLOCKS[zone].format(ms);
}

const STYLE = { dateStyle: "short", timeStyle: "medium" } as const;
// Swedes write dates as ISO 8601 does. Made once: a formatter takes longer to make than a table to draw.
const CLOCKS: Readonly<Record<Zone, Intl.DateTimeFormat>> = {
  UTC: new Intl.DateTimeFormat("sv-SE", { ...STYLE, timeZone: "UTC" }),
  local: new Intl.DateTimeFormat("sv-SE", STYLE),
};

export const words = (name: string) => name.replaceAll("_", " ");
