// Places nodes in layers from left to right, with elkjs, which is large and loaded when first wanted.

import type { ElkNode } from "elkjs/lib/elk-api";
import type { CanvasNode, Drawing } from "./document";
import { HEIGHT, MARGIN, TITLE, WIDTH } from "./groups";

export async function arranged({ nodes, edges, groups }: Drawing): Promise<Map<string, { x: number; y: number }>> {
  const { default: Elk } = await import("elkjs/lib/elk.bundled.js");
  const boxes = new Map(nodes.map((node) => [node.id, box(node)]));
  const within = new Set(groups.flatMap((group) => group.nodes));
  const frames = groups.map((group) => ({
    id: group.id,
    layoutOptions: { "elk.padding": `[top=${TITLE + MARGIN},left=${MARGIN},bottom=${MARGIN},right=${MARGIN}]` },
    children: group.nodes.flatMap((id) => boxes.get(id) ?? []),
  }));
  const placed = await new Elk().layout({
    id: "drawing",
    layoutOptions: {
      "elk.algorithm": "layered",
      "elk.direction": "RIGHT",
      "elk.hierarchyHandling": "INCLUDE_CHILDREN",
      "elk.spacing.nodeNode": "30",
      "elk.layered.spacing.nodeNodeBetweenLayers": "70",
    },
    children: [
      ...frames,
      ...nodes
        .filter(({ id, type }) => type === "strategy" && !within.has(id))
        .flatMap(({ id }) => boxes.get(id) ?? []),
    ],
    edges: edges.map((edge) => ({ id: edge.id, sources: [edge.source], targets: [edge.target] })),
  });
  return new Map((placed.children ?? []).flatMap((child) => places(child, 0, 0)));
}

/** Where nodes are, those of a group within it. */
function places({ id, x = 0, y = 0, children = [] }: ElkNode, left: number, top: number): [string, Place][] {
  const at = { x: left + x, y: top + y };
  return [[id, at], ...children.flatMap((child) => places(child, at.x, at.y))];
}

interface Place {
  x: number;
  y: number;
}

const box = (node: CanvasNode) => ({
  id: node.id,
  width: node.measured?.width ?? WIDTH,
  height: node.measured?.height ?? HEIGHT,
});
