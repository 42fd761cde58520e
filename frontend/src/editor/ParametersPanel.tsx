import { ActionIcon, Group, NumberInput, Stack, Text, Title } from "@mantine/core";
import type { Parameter } from "./document";
import { useEditor } from "./store";

/** The named parameters: what a run, an optimisation or a session may set without drawing anew. */
export function ParametersPanel() {
  const parameters = useEditor((state) => state.parameters);
  const { setParameters } = useEditor.getState();
  const change = (index: number, part: Partial<Parameter>) =>
    setParameters(parameters.map((one, at) => (at === index ? { ...one, ...part } : one)));
  return (
    <Stack gap="sm">
      <Title order={3} size="h5">
        Named parameters
      </Title>
      <Text size="sm" c="dimmed">
        Values that a run may set. Choose a node to name one of its own.
      </Text>
      {parameters.map((parameter, index) => (
        <fieldset key={parameter.name} className="parameter">
          <Group gap="xs" wrap="nowrap">
            <Text size="sm" fw={600} flex={1}>
              {parameter.name}
            </Text>
            <ActionIcon
              variant="subtle"
              color="red"
              aria-label={`Remove ${parameter.name}`}
              onClick={() => setParameters(parameters.filter((_, at) => at !== index))}
            >
              ×
            </ActionIcon>
          </Group>
          <Group gap="xs" grow>
            {(["default", "min", "max", "step"] as const).map((field) => (
              <NumberInput
                key={field}
                size="xs"
                label={field}
                hideControls
                value={parameter[field] ?? ""}
                onChange={(value) => change(index, { [field]: typeof value === "number" ? value : undefined })}
              />
            ))}
          </Group>
        </fieldset>
      ))}
    </Stack>
  );
}
