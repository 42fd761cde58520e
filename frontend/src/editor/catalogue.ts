import { createContext, useContext } from "react";
import {
  type NodeParameter,
  type NodePort,
  type NodeType,
  PortType,
} from "../generated/algotrade/v1/strategy_service_pb";

export type Catalogue = ReadonlyMap<string, NodeType>;

export const CatalogueContext = createContext<Catalogue>(new Map());
export const useCatalogue = () => useContext(CatalogueContext);

export const CATEGORY_COLORS: Readonly<Record<string, string>> = {
  data: "#4dabf7",
  overlap: "#38d9a9",
  momentum: "#a9e34b",
  volume: "#66d9e8",
  volatility: "#ffa94d",
  statistics: "#9775fa",
  math: "#adb5bd",
  logic: "#ffd43b",
  pattern: "#f783ac",
  action: "#ff8787",
  risk: "#e599f7",
};

export const colorOf = (category: string | undefined) => CATEGORY_COLORS[category ?? ""] ?? "#868e96";

export const PORT_COLORS: Readonly<Record<PortType, string>> = {
  [PortType.UNSPECIFIED]: "#868e96",
  [PortType.NUMBER]: "#4dabf7",
  [PortType.BOOL]: "#ffd43b",
};

export const PORT_NAMES: Readonly<Record<PortType, string>> = {
  [PortType.UNSPECIFIED]: "anything",
  [PortType.NUMBER]: "a number",
  [PortType.BOOL]: "true or false",
};

/** A node's input by its handle; the only one where none is named. */
export function portOf(ports: readonly NodePort[], handle: string | null | undefined): NodePort | undefined {
  return handle ? ports.find((port) => port.name === handle) : ports[0];
}

export function defaultOf({ defaultValue }: NodeParameter): number | string | undefined {
  const kind = defaultValue?.kind;
  return kind?.case === "numberValue" || kind?.case === "stringValue" ? kind.value : undefined;
}

export const isNumeric = (parameter: NodeParameter) => ["int", "number", "decimal"].includes(parameter.type);

/** The unit that the description ends with, such as `%`. */
export const unitOf = (parameter: NodeParameter) => / Unit: (\S+)\.$/.exec(parameter.description)?.[1] ?? "";

/** Whether an output is a price, which belongs over candles. */
export function isPrice(catalogue: Catalogue, kind: string, port: string): boolean {
  const category = catalogue.get(kind)?.category;
  return (category === "overlap" && port !== "direction") || kind === "price" || kind === "heikin_ashi";
}

/** Types whose name, category or summary has every word, names that begin with the first word before others. */
export function search(types: readonly NodeType[], query: string): NodeType[] {
  const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
  const first = wanted[0];
  if (!first) return [...types];
  const hits = types.filter((type) => {
    const text = `${type.name} ${type.category} ${type.summary}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
  const rank = (type: NodeType) =>
    type.name === first ? 0 : type.name.startsWith(first) ? 1 : type.name.includes(first) ? 2 : 3;
  return hits.sort((a, b) => rank(a) - rank(b));
}
