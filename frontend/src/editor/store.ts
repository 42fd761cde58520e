// The drawing that is being edited, with its past. What is selected or measured is no part of the past.

import { applyEdgeChanges, applyNodeChanges, type Edge, type EdgeChange, type NodeChange } from "@xyflow/react";
import { temporal } from "zundo";
import { create, useStore } from "zustand";
import {
  type CanvasNode,
  copies,
  type Drawing,
  emptyDrawing,
  freeId,
  type Parameter,
  type ParamValue,
  type Parts,
  textOf,
} from "./document";
import { type FrameNode, grouped, parted, pruned, ungrouped } from "./groups";

const PAST = 200; // steps that can be undone
const COALESCE_MS = 1000; // keystrokes in one field within so long are one step
const SHIFT = 40; // pixels from a node to its copy

interface Editing extends Drawing {
  load(drawing: Drawing): void;
  rename(name: string, description: string): void;
  changeNodes(changes: NodeChange<CanvasNode | FrameNode>[]): void;
  changeEdges(changes: EdgeChange[]): void;
  connect(edge: Omit<Edge, "id">): void;
  add(kind: string, position: { x: number; y: number }): string;
  addNote(position: { x: number; y: number }): void;
  setNote(id: string, text: string): void;
  setParam(id: string, name: string, value: ParamValue | undefined): void;
  setParameters(parameters: Parameter[]): void;
  paste(parts: Parts): void;
  group(): void;
  ungroup(): void;
  setTitle(id: string, title: string): void;
  arrange(positions: ReadonlyMap<string, { x: number; y: number }>): void;
}

export const useEditor = create<Editing>()(
  temporal(
    (set, get) => ({
      ...emptyDrawing(""),
      load: (drawing) => set(drawing),
      rename: (name, description) => coalesced("name", () => set({ name, description })),
      changeNodes: (changes) =>
        set((drawing) => {
          const { changes: own, groups } = parted(changes, drawing);
          const nodes = applyNodeChanges(own, drawing.nodes);
          return { nodes, groups: pruned(groups, nodes) };
        }),
      changeEdges: (changes) => set(({ edges }) => ({ edges: applyEdgeChanges(changes, edges) })),
      connect: (edge) =>
        set((drawing) => ({ edges: [...drawing.edges, { ...edge, id: freeId("e", taken(drawing)) }] })),
      add: (kind, position) => {
        const id = freeId(kind, taken(get()));
        const node: CanvasNode = {
          id,
          type: "strategy",
          position,
          data: { kind, params: {}, version: 1 },
          selected: true,
        };
        set(({ nodes }) => ({ nodes: [...nodes.map(unselected), node] }));
        return id;
      },
      addNote: (position) =>
        set((drawing) => {
          const id = freeId("note", taken(drawing));
          return { nodes: [...drawing.nodes, { id, type: "note", position, data: { text: "" } }] };
        }),
      setNote: (id, text) =>
        coalesced(`note ${id}`, () =>
          set(({ nodes }) => ({
            nodes: nodes.map((node) =>
              node.id === id && node.type === "note" ? { ...node, data: { ...node.data, text } } : node,
            ),
          })),
        ),
      setParam: (id, name, value) =>
        coalesced(`${id}.${name}`, () => set(({ nodes }) => ({ nodes: nodes.map(withParam(id, name, value)) }))),
      setParameters: (parameters) => coalesced("parameters", () => set({ parameters })),
      paste: (parts) =>
        set((drawing) => {
          const made = copies(drawing, parts, SHIFT);
          return {
            nodes: [...drawing.nodes.map(unselected), ...made.nodes],
            edges: [...drawing.edges, ...made.edges],
            groups: [...drawing.groups.map((group) => ({ ...group, selected: false })), ...made.groups],
          };
        }),
      group: () => set((drawing) => ({ groups: grouped(drawing), nodes: drawing.nodes.map(unselected) })),
      ungroup: () => set((drawing) => ({ groups: ungrouped(drawing) })),
      setTitle: (id, title) =>
        coalesced(`title ${id}`, () =>
          set(({ groups }) => ({ groups: groups.map((group) => (group.id === id ? { ...group, title } : group)) })),
        ),
      arrange: (positions) =>
        set(({ nodes }) => ({
          nodes: nodes.map((node) => ({ ...node, position: positions.get(node.id) ?? node.position }) as CanvasNode),
        })),
    }),
    {
      limit: PAST,
      partialize: (editing: Editing): Drawing => parts(editing),
      equality: (before, after) => sameParts(before, after) || textOf(before) === textOf(after),
    },
  ),
);

function parts({ name, description, parameters, nodes, edges, groups, rest }: Drawing): Drawing {
  return { name, description, parameters, nodes, edges, groups, rest };
}

const taken = ({ nodes, edges, groups }: Drawing) => new Set([...nodes, ...edges, ...groups].map((part) => part.id));
const unselected = (node: CanvasNode): CanvasNode =>
  node.selected ? ({ ...node, selected: false } as CanvasNode) : node;
const sameParts = (a: Drawing, b: Drawing) =>
  a.nodes === b.nodes &&
  a.edges === b.edges &&
  a.groups === b.groups &&
  a.parameters === b.parameters &&
  a.name === b.name &&
  a.description === b.description;

function withParam(id: string, name: string, value: ParamValue | undefined) {
  return (node: CanvasNode): CanvasNode => {
    if (node.id !== id || node.type !== "strategy") return node;
    const { [name]: _, ...others } = node.data.params;
    const params = value === undefined ? others : { ...others, [name]: value };
    return { ...node, data: { ...node.data, params } };
  };
}

const past = () => useEditor.temporal.getState();
let last = { what: "", at: 0 };

/** Makes quick changes of one thing one step of the past. */
function coalesced(what: string, change: () => void): void {
  const now = performance.now();
  const goesOn = last.what === what && now - last.at < COALESCE_MS && past().isTracking;
  last = { what, at: now };
  if (goesOn) past().pause();
  change();
  past().resume();
}

/** Makes all moves of a drag one step: the first is kept, as what comes before it. */
export function beginDrag(): void {
  const before = parts(useEditor.getState());
  useEditor.temporal.setState(({ pastStates }) => ({
    pastStates: [...pastStates, before].slice(-PAST),
    futureStates: [],
  }));
  past().pause();
}

export const endDrag = () => past().resume();
export const undo = () => past().undo();
export const redo = () => past().redo();

/** Begins anew: what is loaded is the first step. */
export function open(drawing: Drawing): void {
  useEditor.getState().load(drawing);
  past().clear();
  last = { what: "", at: 0 }; // what is typed next goes on with nothing
}

export function useHistory() {
  const canUndo = useStore(useEditor.temporal, ({ pastStates }) => pastStates.length > 0);
  const canRedo = useStore(useEditor.temporal, ({ futureStates }) => futureStates.length > 0);
  return { canUndo, canRedo };
}
