// What every run is begun with: a strategy, its parameters, the rules; the pages add over what.

import { Alert, Button, Group, Paper, Stack, Title } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { useLocation } from "wouter";
import { type Failure, failureOf } from "../api/errors";
import { SettingsFields } from "./SettingsFields";
import { StrategyFields, texts, type Values } from "./StrategyFields";
import { emptySettings, type SettingsForm } from "./settings";

export interface Run {
  strategyId: string;
  settings: SettingsForm;
  parameters: Record<string, string>;
}

interface Props {
  title: string;
  verb: string;
  strategyId?: string;
  /** Whether all that the page adds is chosen. */
  ready: boolean;
  intervals?: readonly string[];
  /** Begins it, and returns the path of the page that shows it. */
  start(run: Run): Promise<string>;
  /** What the page adds, given the server's sentences by field. */
  children(errors: Failure["fields"]): ReactNode;
}

export function RunForm({ title, verb, strategyId: first = "", ready, intervals, start, children }: Props) {
  const [strategyId, setStrategyId] = useState(first);
  const [values, setValues] = useState<Values>({});
  const [settings, setSettings] = useState(emptySettings);
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const [, go] = useLocation();

  async function begin() {
    setBusy(true);
    setFailure(undefined);
    try {
      go(await start({ strategyId, settings, parameters: texts(values) }));
    } catch (error) {
      setFailure(failureOf(error));
      setBusy(false);
    }
  }

  return (
    <Stack component="main" p="lg" maw={900}>
      <Title order={1} size="h2">
        {title}
      </Title>
      <Paper withBorder p="md">
        <StrategyFields
          strategyId={strategyId}
          choose={(id) => {
            setStrategyId(id);
            setValues({});
          }}
          values={values}
          change={setValues}
          errors={failure?.fields}
        />
      </Paper>
      <Paper withBorder p="md">
        {children(failure?.fields ?? {})}
      </Paper>
      <Paper withBorder p="md">
        <SettingsFields value={settings} change={setSettings} errors={failure?.fields} intervals={intervals} />
      </Paper>
      {failure && (
        <Alert color="red" role="alert">
          {failure.sentence}
        </Alert>
      )}
      <Group>
        <Button onClick={() => void begin()} loading={busy} disabled={!strategyId || !ready}>
          {verb}
        </Button>
      </Group>
    </Stack>
  );
}
