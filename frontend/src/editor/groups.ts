// Groups of nodes: a title and a frame around them. Where the frame is follows from where its nodes are.

import type { Node, NodeChange } from "@xyflow/react";
import { type CanvasNode, type Drawing, freeId, type Group } from "./document";

export type FrameNode = Node<{ title: string }, "frame">;

export const WIDTH = 220; // of a node that was not measured yet
export const HEIGHT = 120;
export const MARGIN = 20;
export const TITLE = 34;
const LIFTED = 1000; // so far React Flow lifts what is chosen; a frame stays below its nodes

/** Groups without the nodes that are not there any more, and without those that have none left. */
export function pruned(groups: readonly Group[], nodes: readonly CanvasNode[]): Group[] {
  const there = new Set(nodes.map(({ id }) => id));
  if (groups.every(({ nodes: members }) => members.length > 0 && members.every((id) => there.has(id)))) {
    return groups as Group[];
  }
  const left = groups.map((group) => ({ ...group, nodes: group.nodes.filter((id) => there.has(id)) }));
  return left.filter((group) => group.nodes.length > 0);
}

/** Puts chosen nodes, and those of chosen groups, into a new group. They leave the groups they were in. */
export function grouped({ nodes, edges, groups }: Drawing): Group[] {
  const chosen = new Set(chosenIds(nodes, groups));
  if (chosen.size === 0) return groups;
  const taken = new Set([...nodes, ...edges, ...groups].map(({ id }) => id));
  const made: Group = { id: freeId("group", taken), title: "", nodes: [...chosen], selected: true };
  const others = groups.map((group) => without(group, chosen)).filter((group) => group.nodes.length > 0);
  return [...others.map((group) => ({ ...group, selected: false })), made];
}

/** Dissolves chosen groups; chosen nodes leave theirs. */
export function ungrouped({ nodes, groups }: Pick<Drawing, "nodes" | "groups">): Group[] {
  const chosen = new Set(nodes.filter(({ selected }) => selected).map(({ id }) => id));
  const left = groups.filter(({ selected }) => !selected).map((group) => without(group, chosen));
  return left.filter((group) => group.nodes.length > 0);
}

/** Ids of the chosen nodes and of the nodes of chosen groups. */
export function chosenIds(nodes: readonly CanvasNode[], groups: readonly Group[]): string[] {
  const within = new Set(groups.filter(({ selected }) => selected).flatMap((group) => group.nodes));
  return nodes.filter(({ id, selected }) => selected || within.has(id)).map(({ id }) => id);
}

function without(group: Group, ids: ReadonlySet<string>): Group {
  return group.nodes.some((id) => ids.has(id)) ? { ...group, nodes: group.nodes.filter((id) => !ids.has(id)) } : group;
}

/** The frames around the nodes of groups, to be drawn below them. */
export function framesOf(groups: readonly Group[], nodes: readonly CanvasNode[]): FrameNode[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  return groups.flatMap((group) => {
    const members = group.nodes.flatMap((id) => byId.get(id) ?? []);
    if (members.length === 0) return [];
    const left = Math.min(...members.map(({ position }) => position.x)) - MARGIN;
    const top = Math.min(...members.map(({ position }) => position.y)) - MARGIN - TITLE;
    const right = Math.max(...members.map(({ position, measured }) => position.x + (measured?.width ?? WIDTH)));
    const bottom = Math.max(...members.map(({ position, measured }) => position.y + (measured?.height ?? HEIGHT)));
    const size = { width: right + MARGIN - left, height: bottom + MARGIN - top };
    return {
      id: group.id,
      type: "frame" as const,
      position: { x: left, y: top },
      ...size,
      measured: size,
      data: { title: group.title },
      selected: group.selected ?? false,
      zIndex: group.selected ? -1 - LIFTED : -1,
      connectable: false,
      dragHandle: ".frame-grip",
      style: { pointerEvents: "none" as const }, // but for its title: within it nodes are chosen as anywhere
    };
  });
}

type Change = NodeChange<CanvasNode | FrameNode>;

/** Parts changes of the canvas into those of nodes and what becomes of the groups; a frame that moves takes its nodes along. */
export function parted(
  changes: readonly Change[],
  { nodes, groups }: Pick<Drawing, "nodes" | "groups">,
): { changes: NodeChange<CanvasNode>[]; groups: Group[] } {
  const ids = new Set(groups.map(({ id }) => id));
  const own = changes.filter((change) => !("id" in change && ids.has(change.id))) as NodeChange<CanvasNode>[];
  if (own.length === changes.length) return { changes: own, groups };
  const moving = new Set(own.flatMap((change) => (change.type === "position" ? change.id : [])));
  const frames = new Map(framesOf(groups, nodes).map((frame) => [frame.id, frame]));
  let left = groups;
  for (const change of changes) {
    if (!("id" in change) || !ids.has(change.id)) continue;
    if (change.type === "select") {
      left = left.map((group) => (group.id === change.id ? { ...group, selected: change.selected } : group));
    } else if (change.type === "remove") {
      left = left.filter(({ id }) => id !== change.id);
    } else if (change.type === "position" && change.position) {
      const frame = frames.get(change.id);
      const members = new Set(groups.find(({ id }) => id === change.id)?.nodes);
      for (const { id, position } of nodes) {
        if (!frame || !members.has(id) || moving.has(id)) continue;
        const x = position.x + change.position.x - frame.position.x;
        const y = position.y + change.position.y - frame.position.y;
        own.push({ id, type: "position", position: { x, y }, dragging: change.dragging });
      }
    }
  }
  return { changes: own, groups: left };
}
