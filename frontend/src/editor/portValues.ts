// What the ports of a drawing held at the bar that is being explained, by node.port.

import { create } from "zustand";
import type { PortValue } from "../generated/algotrade/v1/types_pb";

export const usePortValues = create<{ values?: ReadonlyMap<string, string> }>()(() => ({}));

export function shownValues(ports: readonly PortValue[]): ReadonlyMap<string, string> {
  return new Map(ports.map(({ nodeId, port, value }) => [`${nodeId}.${port}`, shown(value)]));
}

function shown(value: PortValue["value"]): string {
  if (value.case === "truth") return String(value.value);
  if (value.case === "number") return String(Number(value.value.toPrecision(7)));
  return "unknown";
}
