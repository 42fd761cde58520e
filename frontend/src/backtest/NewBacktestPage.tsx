import { Alert, Button, FileInput, Group, Paper, SegmentedControl, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";
import { useLocation } from "wouter";
import { backtests } from "../api/clients";
import { type Failure, failureOf } from "../api/errors";
import { SettingsFields } from "../runs/SettingsFields";
import { StrategyFields, texts, type Values } from "../runs/StrategyFields";
import { emptySettings } from "../runs/settings";
import { MOST_BARS, readBars } from "./csv";

type Source = "sample" | "file";

export function NewBacktestPage({ strategyId: first = "" }: { strategyId?: string }) {
  const [strategyId, setStrategyId] = useState(first);
  const [values, setValues] = useState<Values>({});
  const [settings, setSettings] = useState(emptySettings);
  const [source, setSource] = useState<Source>("sample");
  const [file, setFile] = useState<File | null>(null);
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const [, go] = useLocation();

  async function data() {
    if (source === "sample" || !file) return { case: "sample", value: "AAPL" } as const;
    const value = readBars(await file.text());
    return { case: "bars", value: { $typeName: "algotrade.v1.BarColumns", ...value } } as const;
  }

  async function start() {
    setBusy(true);
    setFailure(undefined);
    try {
      const { backtest } = await backtests.startBacktest({
        requestId: crypto.randomUUID(),
        strategy: { case: "saved", value: { strategyId } },
        data: await data(),
        settings,
        parameters: texts(values),
      });
      go(`/backtests/${backtest?.backtestId}`);
    } catch (error) {
      setFailure(failureOf(error));
      setBusy(false);
    }
  }

  return (
    <Stack component="main" p="lg" maw={900}>
      <Title order={1} size="h2">
        New backtest
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
        <Text fw={600} mb="xs">
          Bars
        </Text>
        <Group align="end">
          <SegmentedControl
            aria-label="Where the bars come from"
            value={source}
            onChange={(value) => setSource(value as Source)}
            data={[
              { value: "sample", label: "AAPL, daily, 2019 to 2024" },
              { value: "file", label: "A CSV file" },
            ]}
          />
          {source === "file" && (
            <FileInput
              aria-label="CSV file"
              placeholder={`timestamp, open, high, low, close, volume; at most ${MOST_BARS} rows`}
              accept=".csv,text/csv"
              value={file}
              onChange={setFile}
              flex={1}
            />
          )}
        </Group>
      </Paper>
      <Paper withBorder p="md">
        <SettingsFields value={settings} change={setSettings} errors={failure?.fields} />
      </Paper>
      {failure && (
        <Alert color="red" role="alert">
          {failure.sentence}
        </Alert>
      )}
      <Group>
        <Button onClick={() => void start()} loading={busy} disabled={!strategyId || (source === "file" && !file)}>
          Run the backtest
        </Button>
      </Group>
    </Stack>
  );
}
