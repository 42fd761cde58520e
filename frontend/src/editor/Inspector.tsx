// The chosen node in words, and which of its parameters a run may set.

import { Select, Stack, Text, Title } from "@mantine/core";
import { useShallow } from "zustand/react/shallow";
import type { NodeParameter } from "../generated/algotrade/v1/strategy_service_pb";
import { defaultOf, isNumeric, PORT_NAMES, useCatalogue } from "./catalogue";
import type { Drawing, Parameter } from "./document";
import { freeId } from "./document";
import { ParametersPanel } from "./ParametersPanel";
import { rangeOf } from "./ParamField";
import { useEditor } from "./store";

const OWN = "fixed";
const NEW = "new";

export function Inspector() {
  const [id, kind] = useEditor(useShallow(chosenNode));
  const catalogue = useCatalogue();
  if (id === undefined || kind === undefined) return <ParametersPanel />;
  const type = catalogue.get(kind);
  if (!type) return <Text c="red">There is no node type {kind}.</Text>;
  return (
    <Stack gap="sm">
      <Title order={3} size="h5">
        {type.name}
      </Title>
      <Text size="sm">{type.summary}</Text>
      {[...type.inputs, ...type.outputs].length > 0 && (
        <dl className="facts">
          {type.inputs.map((port) => (
            <Fact
              key={port.name}
              name={`in ${port.name}`}
              text={`${PORT_NAMES[port.type]}${port.required ? "" : ", may be left open"}`}
            />
          ))}
          {type.outputs.map((port) => (
            <Fact key={port.name} name={`out ${port.name}`} text={PORT_NAMES[port.type]} />
          ))}
        </dl>
      )}
      {type.parameters.map((parameter) => (
        <ParameterSource key={parameter.name} nodeId={id} parameter={parameter} />
      ))}
    </Stack>
  );
}

/** Id and kind of the only node that is chosen: not where it is, which changes with every frame of a drag. */
function chosenNode({ nodes }: Drawing): [id?: string, kind?: string] {
  const [one, another] = nodes.filter(({ selected }) => selected);
  return one?.type === "strategy" && !another ? [one.id, one.data.kind] : [];
}

function Fact({ name, text }: { name: string; text: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{text}</dd>
    </div>
  );
}

/** Whether a node's parameter has a value of its own, or that of a named one, which a run may set. */
function ParameterSource({ nodeId, parameter }: { nodeId: string; parameter: NodeParameter }) {
  const parameters = useEditor((state) => state.parameters);
  const value = useEditor((state) => {
    const node = state.nodes.find((one) => one.id === nodeId);
    return node?.type === "strategy" ? node.data.params[parameter.name] : undefined;
  });
  const { setParam, setParameters } = useEditor.getState();
  const bound = typeof value === "object" ? value.param : undefined;

  function choose(choice: string | null) {
    if (choice === OWN) setParam(nodeId, parameter.name, parameters.find((one) => one.name === bound)?.default);
    else if (choice === NEW) {
      const made = namedAfter(nodeId, parameter, typeof value === "number" ? value : undefined, parameters);
      setParameters([...parameters, made]);
      setParam(nodeId, parameter.name, { param: made.name });
    } else if (choice) setParam(nodeId, parameter.name, { param: choice.slice(NEW.length) });
  }

  return (
    <div>
      <Text size="sm" fw={600}>
        {parameter.name}{" "}
        <Text span size="xs" c="dimmed">
          {parameter.choices.length > 0 ? "" : rangeOf(parameter)}
        </Text>
      </Text>
      <Text size="xs" c="dimmed">
        {parameter.description}
      </Text>
      {isNumeric(parameter) && (
        <Select
          size="xs"
          aria-label={`Source of ${parameter.name}`}
          allowDeselect={false}
          value={bound === undefined ? OWN : NEW + bound}
          onChange={choose}
          data={[
            { value: OWN, label: "Its own value" },
            ...parameters.map(({ name }) => ({ value: NEW + name, label: `Named: ${name}` })),
            { value: NEW, label: "Make a named parameter of it" },
          ]}
        />
      )}
    </div>
  );
}

function namedAfter(
  nodeId: string,
  parameter: NodeParameter,
  value: number | undefined,
  others: Parameter[],
): Parameter {
  const standard = defaultOf(parameter);
  const chosen = value ?? (typeof standard === "number" ? standard : (parameter.min ?? 1));
  const whole = parameter.type === "int";
  const most = Math.min(parameter.max ?? Number.POSITIVE_INFINITY, Math.max(chosen * 4, 1));
  return {
    name: freeId(`${nodeId}_${parameter.name}`, new Set(others.map((one) => one.name))),
    type: whole ? "int" : "float",
    default: chosen,
    min: parameter.min ?? 0,
    max: whole ? Math.ceil(most) : most,
    step: whole ? 1 : 0.1,
  };
}
