import { expect, test } from "vitest";
import { refusal } from "../src/editor/connect";
import { catalogue, cross } from "./drawings";

const why = (
  source: string,
  target: string,
  targetHandle: string | null,
  change = (_: ReturnType<typeof cross>) => {},
) => {
  const drawing = cross();
  change(drawing);
  return refusal(catalogue, drawing.nodes, drawing.edges, { source, target, sourceHandle: "value", targetHandle });
};

test("what fits is connected", () => {
  expect(why("close", "up", "b")).toBeUndefined();
});

test("a number is no condition, and the sentence says what would be", () => {
  expect(why("close", "buy", "when", (drawing) => drawing.edges.pop())).toContain("takes true or false");
});

test("an input takes one connection", () => {
  expect(why("close", "up", "a")).toContain("has it from fast");
});

test("an input that is named nowhere is taken all the same", () => {
  expect(
    why("close", "fast", "input", (drawing) => drawing.edges.push({ id: "x", source: "close", target: "fast" })),
  ).toBeDefined();
});

test("an input for many takes many, but none twice", () => {
  const withAnd = (drawing: ReturnType<typeof cross>) => {
    drawing.nodes.push({
      id: "all",
      type: "strategy",
      position: { x: 0, y: 0 },
      data: { kind: "and", params: {}, version: 1 },
    });
    drawing.nodes.push({
      id: "up2",
      type: "strategy",
      position: { x: 0, y: 0 },
      data: { kind: "crossover", params: {}, version: 1 },
    });
    drawing.edges.push({ id: "e9", source: "up", target: "all", sourceHandle: "value", targetHandle: "inputs" });
  };
  expect(why("up2", "all", "inputs", withAnd)).toBeUndefined();
  expect(why("up", "all", "inputs", withAnd)).toContain("already");
});

test("no node waits for itself", () => {
  expect(why("fast", "fast", "input")).toContain("itself");
  const second = (drawing: ReturnType<typeof cross>) => {
    drawing.nodes.push({
      id: "mean",
      type: "strategy",
      position: { x: 0, y: 0 },
      data: { kind: "sma", params: {}, version: 1 },
    });
    drawing.edges = [{ id: "e1", source: "fast", target: "mean" }];
  };
  expect(why("mean", "fast", "input", second)).toContain("wait for each other");
});
