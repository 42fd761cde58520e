import { Badge, Text } from "@mantine/core";
import { useReactFlow } from "@xyflow/react";
import { type Diagnostic, DiagnosticSeverity } from "../generated/algotrade/v1/types_pb";
import { useFindings } from "./diagnostics";
import { useEditor } from "./store";

export function FindingsPanel() {
  const { all, artefact, current } = useFindings();
  const flow = useReactFlow();

  function show({ nodeId, edgeId }: Diagnostic) {
    const id = nodeId || useEditor.getState().edges.find((edge) => edge.id === edgeId)?.target;
    if (id) void flow.fitView({ nodes: [{ id }], duration: 300, maxZoom: 1.2 });
  }

  return (
    <section className="findings" aria-label="Findings" aria-live="polite" data-current={current}>
      {!current && (
        <Text size="sm" c="dimmed">
          Checking …
        </Text>
      )}
      {current && all.length === 0 && (
        <Text size="sm" c="teal.4">
          Compiles. {artefact && `Artefact ${artefact.artefactHash.slice(0, 12)}, ${artefact.sizeBytes} bytes.`}
        </Text>
      )}
      {all.map((finding) => (
        <button
          type="button"
          key={`${finding.code} ${finding.nodeId} ${finding.edgeId} ${finding.param} ${finding.message}`}
          onClick={() => show(finding)}
        >
          <Badge size="sm" variant="light" color={finding.severity === DiagnosticSeverity.ERROR ? "red" : "yellow"}>
            {finding.severity === DiagnosticSeverity.ERROR ? "error" : "warning"}
          </Badge>
          <code>{finding.nodeId || finding.edgeId || "drawing"}</code>
          <span>{finding.message}</span>
        </button>
      ))}
    </section>
  );
}
