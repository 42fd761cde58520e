import { Handle, type NodeProps, Position } from "@xyflow/react";
import { memo } from "react";
import type { NodePort } from "../generated/algotrade/v1/strategy_service_pb";
import { DiagnosticSeverity } from "../generated/algotrade/v1/types_pb";
import { colorOf, PORT_COLORS, PORT_NAMES, useCatalogue } from "./catalogue";
import { useFindings } from "./diagnostics";
import type { StrategyNode } from "./document";
import { ParamField } from "./ParamField";
import { usePortValues } from "./portValues";

export const StrategyNodeView = memo(function StrategyNodeView({ id, data, selected }: NodeProps<StrategyNode>) {
  const type = useCatalogue().get(data.kind);
  const findings = useFindings((state) => state.byNode.get(id));
  const errors = findings?.some((finding) => finding.severity === DiagnosticSeverity.ERROR);
  const state = errors ? "wrong" : findings ? "doubtful" : "";
  return (
    <article className={`node ${state} ${selected ? "selected" : ""}`} aria-label={`${data.kind} node ${id}`}>
      <header style={{ borderColor: colorOf(type?.category) }} title={type?.summary}>
        <strong>{data.kind}</strong>
        {id !== data.kind && <small>{id}</small>}
      </header>
      <div className="ports">
        <div>
          {type?.inputs.map((port) => (
            <Port key={port.name} port={port} side="in" />
          ))}
        </div>
        <div>
          {type?.outputs.map((port) => (
            <Port key={port.name} port={port} side="out" nodeId={id} />
          ))}
        </div>
      </div>
      {type?.parameters.map((parameter) => (
        <ParamField
          key={parameter.name}
          nodeId={id}
          parameter={parameter}
          value={data.params[parameter.name]}
          finding={findings?.find((finding) => finding.param === parameter.name)?.message}
        />
      ))}
      {findings?.map((finding) => (
        <p key={`${finding.code} ${finding.param} ${finding.edgeId}`} role="note">
          {finding.message}
        </p>
      ))}
    </article>
  );
});

function Port({ port, side, nodeId }: { port: NodePort; side: "in" | "out"; nodeId?: string }) {
  const value = usePortValues((state) => (nodeId ? state.values?.get(`${nodeId}.${port.name}`) : undefined));
  const color = PORT_COLORS[port.type];
  const wanted = side === "in" && port.required ? ", must be connected" : "";
  return (
    <div className={`port ${side}`} title={`${port.name}: ${PORT_NAMES[port.type]}${wanted}`}>
      <Handle
        id={port.name}
        type={side === "in" ? "target" : "source"}
        position={side === "in" ? Position.Left : Position.Right}
        style={{ background: color }}
        role="button"
        aria-label={`${side === "in" ? "input" : "output"} ${port.name}`}
      />
      <span>
        {port.name}
        {side === "in" && !port.required && "?"}
      </span>
      {value !== undefined && <b className="value">{value}</b>}
    </div>
  );
}
