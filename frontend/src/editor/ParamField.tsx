// One parameter of a node, on the node: its value, range and unit. Plain inputs, as a drawing may have hundreds.

import { memo } from "react";
import type { NodeParameter } from "../generated/algotrade/v1/strategy_service_pb";
import { defaultOf, isNumeric, unitOf } from "./catalogue";
import type { ParamValue } from "./document";
import { useEditor } from "./store";
import { useFar } from "./useViewport";

interface Props {
  nodeId: string;
  parameter: NodeParameter;
  value: ParamValue | undefined;
  finding?: string;
}

export const ParamField = memo(function ParamField({ nodeId, parameter, value, finding }: Props) {
  const setParam = useEditor((state) => state.setParam);
  const set = (next: ParamValue | undefined) => setParam(nodeId, parameter.name, next);
  const label = parameter.name;
  const title = [parameter.description, rangeOf(parameter)].filter(Boolean).join(" ");
  return (
    <div className={finding ? "param wrong" : "param"} title={finding ?? title}>
      <span>{label}</span>
      <Value parameter={parameter} value={value} label={`${nodeId} ${label}`} set={set} wrong={Boolean(finding)} />
      <small>{unitOf(parameter)}</small>
    </div>
  );
});

interface ValueProps {
  parameter: NodeParameter;
  value: ParamValue | undefined;
  label: string;
  wrong: boolean;
  set(value: ParamValue | undefined): void;
}

function Value({ parameter, value, label, wrong, set }: ValueProps) {
  const standard = defaultOf(parameter);
  const far = useFar((state) => state.far);
  if (typeof value === "object") return <output className="bound">{value.param}</output>;
  // Hundreds of inputs take the browser longer to move than all the rest of a drawing.
  if (far)
    return <output className={value === undefined ? "plain standard" : "plain"}>{value ?? standard ?? "–"}</output>;
  if (parameter.type === "choice") {
    return (
      <select
        className="nodrag"
        aria-label={label}
        value={String(value ?? standard ?? "")}
        onChange={(event) => set(event.target.value === String(standard ?? "") ? undefined : event.target.value)}
      >
        {standard === undefined && <option value="">–</option>}
        {parameter.choices.map((choice) => (
          <option key={choice}>{choice}</option>
        ))}
      </select>
    );
  }
  const numeric = isNumeric(parameter);
  return (
    <input
      className="nodrag"
      aria-label={label}
      aria-invalid={wrong}
      type={numeric ? "number" : "text"}
      step={parameter.type === "int" ? 1 : "any"}
      min={parameter.min}
      max={parameter.max}
      placeholder={standard === undefined ? "–" : String(standard)}
      value={value ?? ""}
      onChange={(event) => set(parsed(event.target.value, numeric))}
    />
  );
}

function parsed(text: string, numeric: boolean): ParamValue | undefined {
  if (text === "") return undefined;
  return numeric ? Number(text) : text;
}

export function rangeOf({ min, max }: NodeParameter): string {
  if (min === undefined && max === undefined) return "";
  return `${min ?? "…"} to ${max ?? "…"}.`;
}
