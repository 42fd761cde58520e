// Which connections there may be, and why not.

import type { Connection, Edge } from "@xyflow/react";
import { type Catalogue, PORT_NAMES, portOf } from "./catalogue";
import type { CanvasNode } from "./document";

type Ends = Pick<Connection, "source" | "target" | "sourceHandle" | "targetHandle">;

/** Why two ports cannot be joined, in a sentence; undefined where they can. */
export function refusal(catalogue: Catalogue, nodes: CanvasNode[], edges: Edge[], ends: Ends): string | undefined {
  const kindOf = (id: string) => {
    const node = nodes.find((one) => one.id === id);
    return node?.type === "strategy" ? catalogue.get(node.data.kind) : undefined;
  };
  if (ends.source === ends.target) return "A node cannot read itself: it would need its own value first.";
  const output = portOf(kindOf(ends.source)?.outputs ?? [], ends.sourceHandle);
  const input = portOf(kindOf(ends.target)?.inputs ?? [], ends.targetHandle);
  if (!output || !input) return "One of the two has no such port.";
  if (output.type !== input.type) {
    return `${ends.target}.${input.name} takes ${PORT_NAMES[input.type]}, and ${ends.source}.${output.name} gives ${PORT_NAMES[output.type]}.${output.type === 1 ? " A compare or crossover in between makes a condition of it." : ""}`;
  }
  const into = edges.filter(
    (edge) => edge.target === ends.target && isPort(edge.targetHandle, input.name, kindOf(ends.target)?.inputs.length),
  );
  if (into.some((edge) => edge.source === ends.source && (edge.sourceHandle ?? "") === (ends.sourceHandle ?? ""))) {
    return "They are connected already.";
  }
  if (!input.many && into.length > 0) {
    return `${ends.target}.${input.name} takes one connection, and has it from ${into[0]?.source}. Remove that one first.`;
  }
  if (reaches(edges, ends.target, ends.source)) {
    return `${ends.source} already depends on ${ends.target}: the two would wait for each other.`;
  }
  return undefined;
}

const isPort = (handle: string | null | undefined, name: string, count = 0) =>
  handle === name || (!handle && count === 1);

function reaches(edges: Edge[], from: string, to: string): boolean {
  const followers = Map.groupBy(edges, (edge) => edge.source);
  const seen = new Set([from]);
  const waiting = [from];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (id === to) return true;
    for (const { target } of followers.get(id) ?? []) {
      if (!seen.has(target)) {
        seen.add(target);
        waiting.push(target);
      }
    }
  }
  return false;
}
