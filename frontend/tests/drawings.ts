import { create } from "@bufbuild/protobuf";
import type { Catalogue } from "../src/editor/catalogue";
import { type Drawing, readDrawing } from "../src/editor/document";
import { NodeTypeSchema, PortType } from "../src/generated/algotrade/v1/strategy_service_pb";

const number = (name: string, required = true, many = false) => ({ name, type: PortType.NUMBER, required, many });
const truth = (name: string, required = true, many = false) => ({ name, type: PortType.BOOL, required, many });

export const catalogue: Catalogue = new Map(
  [
    { name: "price", category: "data", summary: "A price of the bar.", outputs: [number("value")] },
    { name: "sma", category: "overlap", summary: "A mean.", inputs: [number("input")], outputs: [number("value")] },
    {
      name: "crossover",
      category: "logic",
      summary: "Crosses.",
      inputs: [number("a"), number("b")],
      outputs: [truth("value")],
    },
    {
      name: "and",
      category: "logic",
      summary: "All true.",
      inputs: [truth("inputs", true, true)],
      outputs: [truth("value")],
    },
    { name: "buy", category: "action", summary: "Enter long.", inputs: [truth("when")] },
  ].map((type) => [type.name, create(NodeTypeSchema, type)]),
);

export const CROSS = JSON.stringify({
  version: 1,
  name: "Cross",
  parameters: [{ name: "fast", type: "int", default: 20, min: 2, max: 200, step: 1 }],
  nodes: [
    { id: "close", type: "price", position: { x: 0, y: 0 } },
    { id: "fast", type: "sma", position: { x: 1, y: 0 }, data: { params: { timeperiod: { param: "fast" } } } },
    { id: "up", type: "crossover", position: { x: 2, y: 0 } },
    { id: "buy", type: "buy", position: { x: 3, y: 0 } },
  ],
  edges: [
    { id: "e1", source: "close", target: "fast" },
    { id: "e2", source: "fast", target: "up", targetHandle: "a" },
    { id: "e3", source: "up", target: "buy" },
  ],
});

export const cross = (): Drawing => readDrawing(CROSS);
