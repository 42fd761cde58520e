import { beforeEach, expect, test } from "vitest";
import { copyChosen, pasteCopied } from "../src/editor/clipboard";
import { differences, documentOf, readDrawing, textOf } from "../src/editor/document";
import { framesOf, MARGIN, TITLE } from "../src/editor/groups";
import { arranged } from "../src/editor/layout";
import { open, redo, undo, useEditor } from "../src/editor/store";
import { cross } from "./drawings";

const editor = () => useEditor.getState();
const groups = () => documentOf(editor()).groups;
const place = (id: string) => editor().nodes.find((node) => node.id === id)?.position;
const choose = (...ids: string[]) =>
  editor().changeNodes(ids.map((id) => ({ id, type: "select" as const, selected: true })));

beforeEach(() => open(cross()));

function grouped(...ids: string[]): void {
  choose(...ids);
  editor().group();
}

test("chosen nodes become a group, which is undone and redone", () => {
  const before = textOf(editor());
  grouped("fast", "up");
  expect(groups()).toEqual([{ id: "group", title: "", nodes: ["fast", "up"] }]);
  expect(readDrawing(textOf(editor())).groups).toEqual(groups());
  undo();
  expect(textOf(editor())).toBe(before);
  redo();
  expect(groups()).toHaveLength(1);
});

test("nothing chosen is no group", () => {
  editor().group();
  expect(editor().groups).toEqual([]);
});

test("a node is in one group, and a group that has none is gone", () => {
  grouped("fast", "up");
  choose("close");
  editor().changeNodes([{ id: "group", type: "select", selected: false }]);
  grouped("up");
  expect(groups()).toEqual([
    { id: "group", title: "", nodes: ["fast"] },
    { id: "group2", title: "", nodes: ["close", "up"] },
  ]);
  editor().changeNodes([{ id: "fast", type: "remove" }]);
  expect(groups()?.map(({ id }) => id)).toEqual(["group2"]);
});

test("a frame is around its nodes and moves them", () => {
  grouped("fast", "up");
  const [frame] = framesOf(editor().groups, editor().nodes);
  expect(frame?.position).toEqual({ x: 1 - MARGIN, y: -MARGIN - TITLE });
  const to = { x: (frame?.position.x ?? 0) + 100, y: (frame?.position.y ?? 0) + 50 };
  editor().changeNodes([{ id: "group", type: "position", position: to, dragging: true }]);
  expect([place("fast"), place("up"), place("buy")]).toEqual([
    { x: 101, y: 50 },
    { x: 102, y: 50 },
    { x: 3, y: 0 },
  ]);
});

test("nodes that are dragged together with their frame move once", () => {
  grouped("fast", "up");
  const [frame] = framesOf(editor().groups, editor().nodes);
  const to = { x: (frame?.position.x ?? 0) + 10, y: frame?.position.y ?? 0 };
  editor().changeNodes([
    { id: "group", type: "position", position: to },
    { id: "fast", type: "position", position: { x: 11, y: 0 } },
  ]);
  expect([place("fast"), place("up")]).toEqual([
    { x: 11, y: 0 },
    { x: 12, y: 0 },
  ]);
});

test("without its frame a group's nodes stay; a chosen node leaves alone", () => {
  grouped("fast", "up");
  editor().changeNodes([{ id: "group", type: "select", selected: false }]);
  choose("up");
  editor().ungroup();
  expect(groups()).toEqual([{ id: "group", title: "", nodes: ["fast"] }]);
  editor().changeNodes([{ id: "group", type: "remove" }]);
  expect(groups()).toBeUndefined();
  expect(editor().nodes).toHaveLength(cross().nodes.length);
});

test("copying a chosen group copies what is in it", () => {
  grouped("fast", "up");
  editor().setTitle("group", "Means");
  expect(copyChosen()).toBe(true);
  pasteCopied();
  expect(groups()?.[1]).toEqual({ id: "group2", title: "Means", nodes: ["fast2", "up2"] });
  expect(documentOf(editor()).edges.at(-1)).toMatchObject({ source: "fast2", target: "up2" });
});

test("a part of a group is copied without it", () => {
  grouped("fast", "up");
  editor().changeNodes([{ id: "group", type: "select", selected: false }]);
  choose("fast");
  copyChosen();
  pasteCopied();
  expect(groups()).toHaveLength(1);
});

test("versions differ by a group's title and nodes", () => {
  const before = cross();
  grouped("fast", "up");
  editor().setTitle("group", "Means");
  expect(differences(before, editor())).toEqual(["new group group"]);
  const now = readDrawing(textOf(editor()));
  editor().setTitle("group", "Averages");
  expect(differences(now, editor())).toEqual(["group group: Means: fast, up → Averages: fast, up"]);
});

test("arranged, the nodes of a group stand together and nobody else between them", async () => {
  grouped("close", "up");
  editor().arrange(await arranged(editor()));
  const [frame] = framesOf(editor().groups, editor().nodes);
  if (!frame) throw new Error("no frame");
  const inside = ({ x, y }: { x: number; y: number }) =>
    x >= frame.position.x &&
    x <= frame.position.x + (frame.width ?? 0) &&
    y >= frame.position.y &&
    y <= frame.position.y + (frame.height ?? 0);
  const within = editor().nodes.filter(({ position }) => inside(position));
  expect(within.map(({ id }) => id)).toEqual(["close", "up"]);
});

test.each([
  [[{ id: "a", nodes: ["fast", "nobody"] }], [{ id: "a", title: "", nodes: ["fast"] }]],
  [
    [
      { id: "a", nodes: ["fast"] },
      { id: "b", nodes: ["fast"] },
    ],
    [{ id: "a", title: "", nodes: ["fast"] }],
  ],
  [[{ id: "fast", nodes: ["fast"] }], [{ id: "fast2", title: "", nodes: ["fast"] }]],
  [
    [
      { id: "a", nodes: ["fast"] },
      { id: "a", nodes: ["up"] },
    ],
    [
      { id: "a", title: "", nodes: ["fast"] },
      { id: "a2", title: "", nodes: ["up"] },
    ],
  ],
  ["nonsense", []],
  [[{ nodes: ["fast"] }, { id: "a" }, {}], []],
])("groups of a file are taken as far as they are any: %j", (given, expected) => {
  const text = JSON.stringify({ ...documentOf(cross()), groups: given });
  expect(readDrawing(text).groups).toEqual(expected);
});
