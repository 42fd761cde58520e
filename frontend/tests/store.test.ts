import { beforeEach, expect, test } from "vitest";
import { documentOf, readDrawing, textOf } from "../src/editor/document";
import { beginDrag, endDrag, open, redo, undo, useEditor } from "../src/editor/store";
import { cross } from "./drawings";

const text = () => textOf(useEditor.getState());

beforeEach(() => open(cross()));

test("what is added is undone and redone", () => {
  const before = text();
  useEditor.getState().add("sma", { x: 7, y: 8 });
  const after = text();
  expect(after).not.toBe(before);
  undo();
  expect(text()).toBe(before);
  redo();
  expect(text()).toBe(after);
});

test("keystrokes in one field are one step", () => {
  const before = text();
  for (const value of [1, 12, 123]) useEditor.getState().setParam("fast", "timeperiod", value);
  expect(text()).toContain("123");
  undo();
  expect(text()).toBe(before);
});

test("a drag is one step", () => {
  const before = text();
  beginDrag();
  for (const x of [10, 20, 30]) {
    useEditor.getState().changeNodes([{ id: "close", type: "position", position: { x, y: 0 }, dragging: true }]);
  }
  endDrag();
  expect(text()).toContain('"x": 30');
  undo();
  expect(text()).toBe(before);
});

test("choosing a node is no step", () => {
  useEditor.getState().changeNodes([{ id: "close", type: "select", selected: true }]);
  expect(useEditor.temporal.getState().pastStates).toHaveLength(0);
});

test("what the editor does not know stays through a change and its undoing", () => {
  const strange = { ...documentOf(cross()), viewport: { zoom: 2 } };
  open(readDrawing(JSON.stringify(strange)));
  useEditor.getState().setParam("fast", "timeperiod", 9);
  expect(documentOf(useEditor.getState())).toMatchObject({ viewport: { zoom: 2 } });
  undo();
  expect(documentOf(useEditor.getState())).toEqual(strange);
});

test("a parameter set to nothing takes its default again", () => {
  useEditor.getState().setParam("fast", "timeperiod", undefined);
  expect(text()).not.toContain("timeperiod");
});

test("what is pasted is chosen, and what was is no more", () => {
  const { nodes, edges } = useEditor.getState();
  useEditor.getState().paste({ nodes: nodes.slice(1, 3), edges, groups: [] });
  expect(
    useEditor
      .getState()
      .nodes.filter((node) => node.selected)
      .map((node) => node.id),
  ).toEqual(["fast2", "up2"]);
});
