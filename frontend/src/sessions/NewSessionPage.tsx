import { useQuery } from "@connectrpc/connect-query";
import { Alert, Button, Group, Paper, Select, Stack, TextInput, Title } from "@mantine/core";
import { useState } from "react";
import { useLocation } from "wouter";
import { sessions } from "../api/clients";
import { type Failure, failureOf } from "../api/errors";
import { MarketDataService } from "../generated/algotrade/v1/market_data_service_pb";
import { SettingsFields } from "../runs/SettingsFields";
import { StrategyFields, texts, type Values } from "../runs/StrategyFields";
import { emptySettings, INTERVALS } from "../runs/settings";

export function NewSessionPage({ strategyId: first = "" }: { strategyId?: string }) {
  const [strategyId, setStrategyId] = useState(first);
  const [values, setValues] = useState<Values>({});
  const [symbol, setSymbol] = useState("");
  const [name, setName] = useState("");
  const [settings, setSettings] = useState(emptySettings);
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const symbols = useQuery(MarketDataService.method.listSymbols, { pageSize: 1000 });
  const [, go] = useLocation();

  async function create() {
    setBusy(true);
    setFailure(undefined);
    try {
      const { session } = await sessions.createSession({
        requestId: crypto.randomUUID(),
        name,
        strategyId,
        symbol,
        settings,
        parameters: texts(values),
      });
      const sessionId = session?.sessionId ?? "";
      await sessions.startSession({ sessionId, requestId: crypto.randomUUID() });
      go(`/sessions/${sessionId}`);
    } catch (error) {
      setFailure(failureOf(error));
      setBusy(false);
    }
  }

  const bars = symbols.data?.symbols.find((one) => one.symbol === symbol)?.bars;
  return (
    <Stack component="main" p="lg" maw={900}>
      <Title order={1} size="h2">
        Trade on paper
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
        <Group grow align="start">
          <Select
            label="Symbol"
            description="What it trades, and where the ticks come from."
            data={symbols.data?.symbols.map((one) => ({ value: one.symbol, label: `${one.symbol} (${one.provider})` }))}
            value={symbol || null}
            onChange={(chosen) => setSymbol(chosen ?? "")}
            error={failure?.fields.symbol}
            searchable
            required
          />
          <TextInput
            label="Name"
            description="Made of strategy and symbol when empty."
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            error={failure?.fields.name}
          />
        </Group>
      </Paper>
      <Paper withBorder p="md">
        <SettingsFields
          value={settings}
          change={setSettings}
          errors={failure?.fields}
          intervals={bars ? INTERVALS : ["tick", ...INTERVALS.filter((one) => one !== "native")]}
        />
      </Paper>
      {failure && (
        <Alert color="red" role="alert">
          {failure.sentence}
        </Alert>
      )}
      <Group>
        <Button onClick={() => void create()} loading={busy} disabled={!strategyId || !symbol}>
          Start the session
        </Button>
      </Group>
    </Stack>
  );
}
