// The drawing itself.

import {
  type Connection,
  ConnectionMode,
  Controls,
  type FinalConnectionState,
  MiniMap,
  ReactFlow,
  SelectionMode,
  useReactFlow,
} from "@xyflow/react";
import "@xyflow/react/dist/style.css";
import { notifications } from "@mantine/notifications";
import { type DragEvent, useCallback, useMemo } from "react";
import { colorOf, PORT_COLORS, portOf, useCatalogue } from "./catalogue";
import { refusal } from "./connect";
import { useFindings } from "./diagnostics";
import type { CanvasNode } from "./document";
import { FrameView } from "./FrameView";
import { type FrameNode, framesOf } from "./groups";
import { NoteView } from "./NoteView";
import { DRAGGED } from "./Palette";
import { StrategyNodeView } from "./StrategyNodeView";
import { beginDrag, endDrag, useEditor } from "./store";
import { useViewport } from "./useViewport";

const NODE_TYPES = { strategy: StrategyNodeView, note: NoteView, frame: FrameView };

export function Canvas({ readOnly = false }: { readOnly?: boolean }) {
  const nodes = useFramedNodes();
  const edges = useColoredEdges();
  const { changeNodes, changeEdges, connect, add } = useEditor.getState();
  const catalogue = useCatalogue();
  const flow = useReactFlow();
  const { canvas, dots, dotted, handlers } = useViewport();

  const why = useCallback(
    (ends: { source: string; target: string; sourceHandle?: string | null; targetHandle?: string | null }) => {
      const { nodes, edges } = useEditor.getState();
      const handles = { sourceHandle: ends.sourceHandle ?? null, targetHandle: ends.targetHandle ?? null };
      return refusal(catalogue, nodes, edges, { ...ends, ...handles });
    },
    [catalogue],
  );

  const tellRefusal = (_: unknown, state: FinalConnectionState) => {
    if (state.isValid !== false || !state.fromHandle || !state.toHandle) return;
    const ends = [state.fromHandle, state.toHandle].sort((a) => (a.type === "source" ? -1 : 1));
    const [from, to] = ends;
    if (!from || !to) return;
    const sentence =
      from.type === to.type
        ? "Connect an output, on the right of a node, to an input, on the left of one."
        : why({ source: from.nodeId, sourceHandle: from.id, target: to.nodeId, targetHandle: to.id });
    notifications.show({ color: "yellow", title: "Not connected", message: sentence });
  };

  const drop = (event: DragEvent) => {
    const kind = event.dataTransfer.getData(DRAGGED);
    if (!kind) return;
    event.preventDefault();
    add(kind, flow.screenToFlowPosition({ x: event.clientX, y: event.clientY }));
  };

  return (
    <ReactFlow<CanvasNode | FrameNode>
      ref={canvas}
      colorMode="dark"
      {...handlers}
      nodes={nodes}
      edges={edges}
      nodeTypes={NODE_TYPES}
      onNodesChange={changeNodes}
      onEdgesChange={changeEdges}
      onConnect={(made: Connection) => connect(made)}
      isValidConnection={(ends) => why(ends) === undefined}
      onConnectEnd={tellRefusal}
      onNodeDragStart={beginDrag}
      onNodeDragStop={endDrag}
      onSelectionDragStart={beginDrag}
      onSelectionDragStop={endDrag}
      onDragOver={(event) => event.preventDefault()}
      onDrop={drop}
      connectionMode={ConnectionMode.Strict}
      selectionMode={SelectionMode.Partial}
      deleteKeyCode={readOnly ? null : ["Delete", "Backspace"]}
      multiSelectionKeyCode={["Shift", "Meta", "Control"]}
      nodesDraggable={!readOnly}
      nodesConnectable={!readOnly}
      minZoom={0.05}
      fitView
    >
      <div ref={dots} className="dots" style={dotted} />
      <Controls showInteractive={false} />
      <MiniMap
        pannable
        zoomable
        ariaLabel="Map of the drawing"
        nodeColor={(node) =>
          node.type === "frame" ? "#373a40" : colorOf(catalogue.get(String(node.data.kind))?.category)
        }
      />
    </ReactFlow>
  );
}

/** The nodes, and below them the frames of their groups. */
function useFramedNodes(): (CanvasNode | FrameNode)[] {
  const nodes = useEditor((state) => state.nodes);
  const groups = useEditor((state) => state.groups);
  return useMemo(() => (groups.length > 0 ? [...framesOf(groups, nodes), ...nodes] : nodes), [groups, nodes]);
}

/** Edges in the colour of what flows through them; red where the compiler found something wrong. */
function useColoredEdges() {
  const edges = useEditor((state) => state.edges);
  const nodes = useEditor((state) => state.nodes);
  const findings = useFindings((state) => state.all);
  const catalogue = useCatalogue();
  const kinds = nodes.map((node) => (node.type === "strategy" ? `${node.id} ${node.data.kind}` : "")).join("\n");
  return useMemo(() => {
    const kindOf = new Map(kinds.split("\n").map((line) => line.split(" ") as [string, string]));
    const wrong = new Set(findings.map((finding) => finding.edgeId));
    return edges.map((edge) => {
      const output = portOf(catalogue.get(kindOf.get(edge.source) ?? "")?.outputs ?? [], edge.sourceHandle);
      const input = catalogue.get(kindOf.get(edge.target) ?? "")?.inputs;
      const stroke = wrong.has(edge.id) ? "#fa5252" : PORT_COLORS[output?.type ?? 0];
      return {
        ...edge,
        sourceHandle: edge.sourceHandle ?? output?.name,
        targetHandle: edge.targetHandle ?? input?.[0]?.name,
        style: { stroke, strokeWidth: 2 },
      };
    });
  }, [edges, kinds, findings, catalogue]);
}
