// What was copied, for every drawing of this tab.

import type { Parts } from "./document";
import { chosenIds } from "./groups";
import { useEditor } from "./store";

let copied: Parts = { nodes: [], edges: [], groups: [] };

/** Copies the chosen nodes, and those of chosen groups, with the edges between them; whether there were any. */
export function copyChosen(): boolean {
  const { nodes, edges, groups } = useEditor.getState();
  const chosen = new Set(chosenIds(nodes, groups));
  if (chosen.size > 0) copied = { nodes: nodes.filter(({ id }) => chosen.has(id)), edges, groups };
  return chosen.size > 0;
}

export function pasteCopied(): void {
  if (copied.nodes.length > 0) useEditor.getState().paste(copied);
}
