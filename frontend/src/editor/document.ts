// The strategy document, and what the canvas makes of it. Fields that the editor does not know are kept.

import type { Edge, Node } from "@xyflow/react";

export type ParamValue = number | string | { param: string };
export type Params = Record<string, ParamValue>;

export interface Parameter {
  name: string;
  type: "int" | "float";
  default: number;
  min?: number;
  max?: number;
  step?: number;
}

export interface StrategyDocument {
  version: 1;
  name: string;
  description?: string;
  parameters: Parameter[];
  nodes: DocumentNode[];
  edges: DocumentEdge[];
  notes?: Note[];
}

interface DocumentNode {
  id: string;
  type: string;
  position?: { x: number; y: number };
  data?: { params?: Params; version?: number };
}

interface DocumentEdge {
  id: string;
  source: string;
  target: string;
  sourceHandle?: string | null;
  targetHandle?: string | null;
}

/** Text beside the nodes; the compiler does not see it. */
export interface Note {
  id: string;
  text: string;
  position: { x: number; y: number };
}

export type StrategyNode = Node<{ kind: string; params: Params; version: number }, "strategy">;
export type NoteNode = Node<{ text: string }, "note">;
export type CanvasNode = StrategyNode | NoteNode;

export interface Drawing {
  name: string;
  description: string;
  parameters: Parameter[];
  nodes: CanvasNode[];
  edges: Edge[];
}

export const emptyDrawing = (name: string): Drawing => ({
  name,
  description: "",
  parameters: [],
  nodes: [],
  edges: [],
});

export class DocumentError extends Error {}

/** Reads a document's JSON text. Raises DocumentError for what is none; what the compiler finds wrong is drawn. */
export function readDrawing(text: string): Drawing {
  let parsed: Partial<StrategyDocument>;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new DocumentError("The file is not JSON.");
  }
  if (!parsed || !Array.isArray(parsed.nodes) || !Array.isArray(parsed.edges)) {
    throw new DocumentError("The file is no strategy: it has no nodes and edges.");
  }
  return {
    name: String(parsed.name ?? ""),
    description: String(parsed.description ?? ""),
    parameters: parsed.parameters ?? [],
    nodes: [...parsed.nodes.map(canvasNode), ...(parsed.notes ?? []).map(noteNode)],
    edges: parsed.edges.map((edge) => ({ ...edge })),
  };
}

function canvasNode(node: DocumentNode, index: number): StrategyNode {
  return {
    id: node.id,
    type: "strategy",
    position: node.position ?? { x: (index % 5) * 260, y: Math.floor(index / 5) * 160 },
    data: { kind: node.type, params: { ...node.data?.params }, version: node.data?.version ?? 1 },
  };
}

function noteNode({ id, text, position }: Note): NoteNode {
  return { id, type: "note", position, data: { text } };
}

export function documentOf(drawing: Drawing): StrategyDocument {
  const notes = drawing.nodes.filter((node) => node.type === "note");
  return {
    version: 1,
    name: drawing.name,
    ...(drawing.description && { description: drawing.description }),
    parameters: drawing.parameters,
    nodes: drawing.nodes.filter((node) => node.type === "strategy").map(documentNode),
    edges: drawing.edges.map(({ id, source, target, sourceHandle, targetHandle }) => ({
      id,
      source,
      target,
      ...(sourceHandle && { sourceHandle }),
      ...(targetHandle && { targetHandle }),
    })),
    ...(notes.length > 0 && { notes: notes.map(({ id, data, position }) => ({ id, text: data.text, position })) }),
  };
}

function documentNode({ id, data, position }: StrategyNode): DocumentNode {
  const { kind, params, version } = data;
  return {
    id,
    type: kind,
    position: { x: Math.round(position.x), y: Math.round(position.y) },
    data: { ...(Object.keys(params).length > 0 && { params }), ...(version !== 1 && { version }) },
  };
}

export const textOf = (drawing: Drawing) => JSON.stringify(documentOf(drawing), null, 1);

/** An id that no node or edge has: the kind's name, numbered. */
export function freeId(kind: string, taken: ReadonlySet<string>): string {
  if (!taken.has(kind)) return kind;
  for (let number = 2; ; number++) if (!taken.has(`${kind}${number}`)) return `${kind}${number}`;
}

/** Copies of nodes and of the edges between them, under ids that are free, shifted. */
export function copies(
  drawing: Drawing,
  chosen: CanvasNode[],
  among: Edge[],
  shift: number,
): Pick<Drawing, "nodes" | "edges"> {
  const taken = new Set([...drawing.nodes, ...drawing.edges].map((part) => part.id));
  const renamed = new Map<string, string>();
  const fresh = (id: string) => {
    const name = freeId(id.replace(/\d+$/, "") || id, taken);
    taken.add(name);
    return name;
  };
  const nodes = chosen.map((node): CanvasNode => {
    const id = fresh(node.id);
    renamed.set(node.id, id);
    const position = { x: node.position.x + shift, y: node.position.y + shift };
    return { ...structuredClone(node), id, position, selected: true } as CanvasNode;
  });
  const edges = among.flatMap((edge) => {
    const source = renamed.get(edge.source);
    const target = renamed.get(edge.target);
    return source && target ? [{ ...edge, id: fresh(edge.id), source, target, selected: false }] : [];
  });
  return { nodes, edges };
}

/** What changed from one drawing to another, in sentences. */
export function differences(before: Drawing, after: Drawing): string[] {
  const found: string[] = [];
  compare(byId(before.nodes.map(signature)), byId(after.nodes.map(signature)), "node", found);
  compare(byId(before.edges.map(wire)), byId(after.edges.map(wire)), "connection", found);
  compare(byId(before.parameters.map(named)), byId(after.parameters.map(named)), "parameter", found);
  return found;
}

type Entry = readonly [id: string, text: string];
const byId = (entries: Entry[]) => new Map(entries);
const signature = (node: CanvasNode): Entry => [
  node.id,
  node.type === "note" ? node.data.text : `${node.data.kind} ${JSON.stringify(node.data.params)}`,
];
const wire = (edge: Edge): Entry => [
  `${edge.source}${edge.sourceHandle ? `.${edge.sourceHandle}` : ""} → ${edge.target}${edge.targetHandle ? `.${edge.targetHandle}` : ""}`,
  "",
];
const named = (parameter: Parameter): Entry => [parameter.name, JSON.stringify(parameter)];

function compare(before: Map<string, string>, after: Map<string, string>, what: string, found: string[]): void {
  for (const [id, text] of after) {
    const old = before.get(id);
    if (old === undefined) found.push(`new ${what} ${id}`);
    else if (old !== text) found.push(`${what} ${id}: ${old} → ${text}`);
  }
  for (const id of before.keys()) if (!after.has(id)) found.push(`no more ${what} ${id}`);
}
