// Places nodes in layers from left to right, with elkjs, which is large and loaded when first wanted.

import type { CanvasNode, Drawing } from "./document";

const WIDTH = 220;
const HEIGHT = 120;

export async function arranged({ nodes, edges }: Drawing): Promise<Map<string, { x: number; y: number }>> {
  const { default: Elk } = await import("elkjs/lib/elk.bundled.js");
  const placed = await new Elk().layout({
    id: "drawing",
    layoutOptions: {
      "elk.algorithm": "layered",
      "elk.direction": "RIGHT",
      "elk.spacing.nodeNode": "30",
      "elk.layered.spacing.nodeNodeBetweenLayers": "70",
    },
    children: nodes.filter((node) => node.type === "strategy").map(box),
    edges: edges.map((edge) => ({ id: edge.id, sources: [edge.source], targets: [edge.target] })),
  });
  return new Map((placed.children ?? []).map(({ id, x = 0, y = 0 }) => [id, { x, y }]));
}

const box = (node: CanvasNode) => ({
  id: node.id,
  width: node.measured?.width ?? WIDTH,
  height: node.measured?.height ?? HEIGHT,
});
