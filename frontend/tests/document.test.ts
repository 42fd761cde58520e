import { expect, test } from "vitest";
import { copies, DocumentError, differences, documentOf, freeId, readDrawing, textOf } from "../src/editor/document";
import { cross } from "./drawings";

test("a document survives the canvas", () => {
  const once = textOf(cross());
  expect(textOf(readDrawing(once))).toBe(once);
  expect(documentOf(cross()).nodes[1]).toEqual({
    id: "fast",
    type: "sma",
    position: { x: 1, y: 0 },
    data: { params: { timeperiod: { param: "fast" } } },
  });
});

test("what the canvas adds does not reach the document", () => {
  const drawing = cross();
  const first = drawing.nodes[0];
  if (first) drawing.nodes[0] = { ...first, selected: true, measured: { width: 9, height: 9 } };
  expect(textOf(drawing)).toBe(textOf(cross()));
});

test("notes travel beside the nodes, which the compiler reads", () => {
  const drawing = cross();
  drawing.nodes.push({ id: "note", type: "note", position: { x: 5, y: 6 }, data: { text: "why" } });
  const document = documentOf(drawing);
  expect(document.nodes.map((node) => node.id)).not.toContain("note");
  expect(document.notes).toEqual([{ id: "note", text: "why", position: { x: 5, y: 6 } }]);
  expect(readDrawing(JSON.stringify(document)).nodes.at(-1)).toEqual(drawing.nodes.at(-1));
});

const STRANGE = {
  version: 1,
  name: "Strange",
  parameters: [{ name: "n", type: "int", default: 3, unit: "bars" }],
  nodes: [
    { id: "p", type: "price", position: { x: 1, y: 2 }, data: { label: "close" }, width: 99, origin: [0, 0] },
    { id: "m", type: "sma", position: { x: 3, y: 4 }, data: { params: { timeperiod: 5 }, version: 2, color: "red" } },
  ],
  edges: [{ id: "e", source: "p", target: "m", targetHandle: "input", animated: true, data: { why: "so" } }],
  notes: [{ id: "note", text: "hm", position: { x: 0, y: 0 }, pinned: true }],
  groups: [{ id: "group", title: "Means", nodes: ["p", "m"], color: "blue" }],
  viewport: { x: 0, y: 0, zoom: 2 },
};

test("what the editor does not know comes out as it went in, also after a change", () => {
  const drawing = readDrawing(JSON.stringify(STRANGE));
  expect(documentOf(drawing)).toEqual(STRANGE);
  const moved = drawing.nodes.map((node) => ({ ...node, position: { x: 7, y: 7 } })) as typeof drawing.nodes;
  expect(documentOf({ ...drawing, nodes: moved }).nodes[0]).toEqual({ ...STRANGE.nodes[0], position: { x: 7, y: 7 } });
  const made = copies(drawing, drawing, 10);
  expect(documentOf({ ...drawing, ...made }).nodes[1]).toEqual({
    ...STRANGE.nodes[1],
    id: "m2",
    position: { x: 13, y: 14 },
  });
});

test("a version that the editor does not know is not taken for its own", () => {
  const text = JSON.stringify({ ...STRANGE, version: 2 });
  expect(JSON.parse(textOf(readDrawing(text))).version).toBe(2);
});

test.each(["", "{}", "[]", "null", '{"nodes": {}}'])("%j is no strategy", (text) => {
  expect(() => readDrawing(text)).toThrow(DocumentError);
});

test("ids are numbered from 2", () => {
  expect(freeId("sma", new Set())).toBe("sma");
  expect(freeId("sma", new Set(["sma", "sma2"]))).toBe("sma3");
});

test("copies have ids of their own, and the edges between them", () => {
  const drawing = cross();
  const chosen = drawing.nodes.filter((node) => ["fast", "up"].includes(node.id));
  const made = copies(drawing, { nodes: chosen, edges: drawing.edges, groups: [] }, 40);
  expect(made.nodes.map((node) => [node.id, node.position.x])).toEqual([
    ["fast2", 41],
    ["up2", 42],
  ]);
  expect(made.edges).toMatchObject([{ source: "fast2", target: "up2", targetHandle: "a" }]);
  const ids = [...drawing.nodes, ...drawing.edges, ...made.nodes, ...made.edges].map((part) => part.id);
  expect(new Set(ids).size).toBe(ids.length);
});

test("differences are told by node, connection and parameter", () => {
  const before = cross();
  const after = cross();
  expect(differences(before, after)).toEqual([]);
  after.nodes = after.nodes.filter((node) => node.id !== "buy");
  after.edges.pop();
  after.parameters = [];
  after.nodes.push({
    id: "sell",
    type: "strategy",
    position: { x: 0, y: 0 },
    data: { kind: "sell", params: {}, version: 1 },
  });
  expect(differences(before, after)).toEqual([
    "new node sell",
    "no more node buy",
    "no more connection up → buy",
    "no more parameter fast",
  ]);
});
