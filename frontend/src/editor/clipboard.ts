// What was copied, for every drawing of this tab.

import type { Edge } from "@xyflow/react";
import type { CanvasNode } from "./document";
import { useEditor } from "./store";

let copied: { nodes: CanvasNode[]; edges: Edge[] } = { nodes: [], edges: [] };

/** Copies the chosen nodes with the edges between them; whether there were any. */
export function copyChosen(): boolean {
  const { nodes, edges } = useEditor.getState();
  const chosen = nodes.filter((node) => node.selected);
  if (chosen.length > 0) copied = { nodes: chosen, edges };
  return chosen.length > 0;
}

export function pasteCopied(): void {
  if (copied.nodes.length > 0) useEditor.getState().paste(copied.nodes, copied.edges);
}
