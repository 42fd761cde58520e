// Numbers and times for people. Amounts come as decimal strings and are shown without passing through anything that
// could change them beyond rounding.

import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampMs } from "@bufbuild/protobuf/wkt";

export function money(text: string, decimals = 2): string {
  if (text === "") return "–";
  return Number(text).toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

export function signed(text: string, decimals = 2): string {
  if (text === "") return "–";
  return `${Number(text) > 0 ? "+" : ""}${money(text, decimals)}`;
}

/** A price or quantity with as many decimals as it has. */
export function exact(text: string): string {
  if (text === "") return "–";
  const [whole = "", fraction] = text.split(".");
  const grouped = Number(whole).toLocaleString("en-US");
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
  const options: Intl.DateTimeFormatOptions = { dateStyle: "short", timeStyle: "medium" };
  // Swedes write dates as ISO 8601 does.
  return new Intl.DateTimeFormat("sv-SE", zone === "UTC" ? { ...options, timeZone: "UTC" } : options).format(ms);
}

export const words = (name: string) => name.replaceAll("_", " ");
