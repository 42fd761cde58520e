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
  groups?: Omit<Group, "selected">[];
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

/** Nodes and notes with a frame around them and a title; the compiler does not see it. */
export interface Group {
  id: string;
  title: string;
  nodes: string[];
  selected?: boolean;
}

/** What a document says that the editor does not know. */
type Unknown = Readonly<Record<string, unknown>>;

export type StrategyNode = Node<
  { kind: string; params: Params; version: number; rest?: { node: Unknown; data: Unknown } },
  "strategy"
>;
export type NoteNode = Node<{ text: string; rest?: Unknown }, "note">;
export type CanvasNode = StrategyNode | NoteNode;

export interface Drawing {
  name: string;
  description: string;
  parameters: Parameter[];
  nodes: CanvasNode[];
  edges: Edge[];
  groups: Group[];
  rest: Unknown;
}

const VERSION = 1;

export const emptyDrawing = (name: string): Drawing => ({
  name,
  description: "",
  parameters: [],
  nodes: [],
  edges: [],
  groups: [],
  rest: {},
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
  const { version = VERSION, name, description, parameters, nodes, edges, notes, groups, ...rest } = parsed;
  const drawn = [...nodes.map(canvasNode), ...(notes ?? []).map(noteNode)];
  return {
    name: String(name ?? ""),
    description: String(description ?? ""),
    parameters: parameters ?? [],
    nodes: drawn,
    edges: edges.map(canvasEdge),
    groups: readGroups(groups, drawn),
    rest: version === VERSION ? rest : { version, ...rest }, // another one the compiler refuses by its name
  };
}

function canvasNode({ id, type, position, data, ...node }: DocumentNode, index: number): StrategyNode {
  const { params, version, ...others } = data ?? {};
  const rest = some(node) || some(others) ? { rest: { node, data: others } } : {};
  return {
    id,
    type: "strategy",
    position: position ?? { x: (index % 5) * 260, y: Math.floor(index / 5) * 160 },
    data: { kind: type, params: { ...params }, version: version ?? 1, ...rest },
  };
}

function noteNode({ id, text, position, ...rest }: Note): NoteNode {
  return { id, type: "note", position, data: { text, ...(some(rest) && { rest }) } };
}

function canvasEdge({ id, source, target, sourceHandle, targetHandle, ...rest }: DocumentEdge): Edge {
  return { id, source, target, sourceHandle, targetHandle, ...(some(rest) && { data: { rest } }) };
}

/** Groups as far as they are any: each node is in one at most, and each has an id of its own. */
function readGroups(groups: unknown, nodes: readonly CanvasNode[]): Group[] {
  const left = new Set(nodes.map(({ id }) => id));
  const taken = new Set(left);
  const found = (Array.isArray(groups) ? groups : []) as Partial<Group>[];
  return found.flatMap(({ id, title, nodes: members, ...rest }) => {
    const own = (Array.isArray(members) ? members : []).filter((member) => left.delete(member));
    if (!id || own.length === 0) return [];
    const free = freeId(String(id), taken); // on the canvas a frame with the id of a node would be that node
    taken.add(free);
    return { ...rest, id: free, title: String(title ?? ""), nodes: own };
  });
}

const some = (fields: object) => Object.keys(fields).length > 0;

export function documentOf(drawing: Drawing): StrategyDocument {
  const notes = drawing.nodes.filter((node) => node.type === "note");
  return {
    version: VERSION,
    name: drawing.name,
    ...(drawing.description && { description: drawing.description }),
    parameters: drawing.parameters,
    nodes: drawing.nodes.filter((node) => node.type === "strategy").map(documentNode),
    edges: drawing.edges.map(({ id, source, target, sourceHandle, targetHandle, data }) => ({
      id,
      source,
      target,
      ...(sourceHandle && { sourceHandle }),
      ...(targetHandle && { targetHandle }),
      ...(data?.rest as Unknown | undefined),
    })),
    ...(notes.length > 0 && {
      notes: notes.map(({ id, data, position }) => ({ id, text: data.text, position, ...data.rest })),
    }),
    ...(drawing.groups.length > 0 && { groups: drawing.groups.map(({ selected, ...group }) => group) }),
    ...drawing.rest,
  };
}

function documentNode({ id, data, position }: StrategyNode): DocumentNode {
  const { kind, params, version, rest } = data;
  return {
    id,
    type: kind,
    position: { x: Math.round(position.x), y: Math.round(position.y) },
    data: { ...(some(params) && { params }), ...(version !== 1 && { version }), ...rest?.data },
    ...rest?.node,
  };
}

export const textOf = (drawing: Drawing) => JSON.stringify(documentOf(drawing), null, 1);

/** An id that no node or edge has: the kind's name, numbered. */
export function freeId(kind: string, taken: ReadonlySet<string>): string {
  if (!taken.has(kind)) return kind;
  for (let number = 2; ; number++) if (!taken.has(`${kind}${number}`)) return `${kind}${number}`;
}

/** What can be copied: nodes, and of the edges and groups those that are of these nodes only. */
export type Parts = Pick<Drawing, "nodes" | "edges" | "groups">;

/** Copies of nodes, of the edges between them and of groups that are whole, under ids that are free, shifted. */
export function copies(drawing: Drawing, { nodes: chosen, edges: among, groups: around }: Parts, shift: number): Parts {
  const taken = new Set([...drawing.nodes, ...drawing.edges, ...drawing.groups].map((part) => part.id));
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
  const groups = around.flatMap((group) => {
    const members = group.nodes.flatMap((id) => renamed.get(id) ?? []);
    return members.length === group.nodes.length ? [{ ...group, id: fresh(group.id), nodes: members }] : [];
  });
  return { nodes, edges, groups };
}

/** What changed from one drawing to another, in sentences. */
export function differences(before: Drawing, after: Drawing): string[] {
  const found: string[] = [];
  compare(byId(before.nodes.map(signature)), byId(after.nodes.map(signature)), "node", found);
  compare(byId(before.edges.map(wire)), byId(after.edges.map(wire)), "connection", found);
  compare(byId(before.parameters.map(named)), byId(after.parameters.map(named)), "parameter", found);
  compare(byId(before.groups.map(frame)), byId(after.groups.map(frame)), "group", found);
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
const frame = ({ id, title, nodes }: Group): Entry => [id, `${title || "untitled"}: ${nodes.join(", ")}`];
const named = (parameter: Parameter): Entry => [parameter.name, JSON.stringify(parameter)];

function compare(before: Map<string, string>, after: Map<string, string>, what: string, found: string[]): void {
  for (const [id, text] of after) {
    const old = before.get(id);
    if (old === undefined) found.push(`new ${what} ${id}`);
    else if (old !== text) found.push(`${what} ${id}: ${old} → ${text}`);
  }
  for (const id of before.keys()) if (!after.has(id)) found.push(`no more ${what} ${id}`);
}
