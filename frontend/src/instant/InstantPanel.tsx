// The artefact in the browser: drag a parameter, see what would have come of it.

import { Badge, Button, Code, Group, Paper, Slider, Switch, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import { useLocation } from "wouter";
import { backtests } from "../api/clients";
import { money } from "../api/format";
import { tellFailure } from "../api/tell";
import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";
import type { Parameter } from "./artefact";
import type { Curve } from "./messages";
import type { Rested, useInstant } from "./useInstant";

interface Props {
  backtest: Backtest;
  instant: ReturnType<typeof useInstant>;
  live: boolean;
  setLive(live: boolean): void;
}

export function InstantPanel({ backtest, instant, live, setLive }: Props) {
  const [values, setValues] = useState<Record<string, number>>(() => numbers(backtest.parameters));
  const { parameters, curve, rested, failure } = instant;

  // biome-ignore lint/correctness/useExhaustiveDependencies: a run begins when something is moved, or loaded
  useEffect(() => {
    if (live && parameters) instant.run(values);
  }, [live, parameters, values]);

  return (
    <Paper withBorder p="sm" component="section" aria-label="Instant mode">
      <Group justify="space-between">
        <Switch
          label="Instant mode: run in this browser"
          checked={live}
          onChange={(event) => setLive(event.currentTarget.checked)}
        />
        {live && curve && <Outcome backtest={backtest} values={values} curve={curve} rested={rested} />}
      </Group>
      {failure && (
        <Text c="red.4" size="sm" role="alert">
          {failure}
        </Text>
      )}
      {live &&
        parameters?.map((parameter) => (
          <Dial
            key={parameter.name}
            parameter={parameter}
            value={values[parameter.name] ?? parameter.default}
            set={(value) => setValues({ ...values, [parameter.name]: value })}
          />
        ))}
      {live && curve && (
        <Text size="xs" c="dimmed" mt="xs">
          Equity: yellow as run here, blue as the server ran it. Trades and drawdown follow when the hand rests.
        </Text>
      )}
      {live && parameters?.length === 0 && (
        <Text size="sm" c="dimmed">
          The strategy has no named parameters to move.
        </Text>
      )}
    </Paper>
  );
}

interface OutcomeProps {
  backtest: Backtest;
  values: Record<string, number>;
  curve: Curve;
  rested?: Rested;
}

function Outcome({ backtest, values, curve, rested }: OutcomeProps) {
  const [, go] = useLocation();
  const whole = rested?.curve === curve ? rested : undefined;
  const same = whole?.hash === backtest.summary?.resultHash;
  const moved = Object.entries(backtest.parameters).some(([name, value]) => Number(value) !== values[name]);

  async function keep() {
    try {
      const { backtest: started } = await backtests.startBacktest({
        requestId: crypto.randomUUID(),
        strategy: { case: "saved", value: { strategyId: backtest.strategyId, version: backtest.strategyVersion } },
        data: { case: "dataHash", value: backtest.dataHash },
        settings: backtest.settings,
        parameters: curve.parameters,
      });
      go(`/backtests/${started?.backtestId}`);
    } catch (error) {
      tellFailure("Not started", error);
    }
  }

  return (
    <Group gap="sm" aria-live="polite">
      <Text size="sm" data-testid="instant-equity">
        equity {money(String(curve.equity.at(-1) ?? ""))}, {whole?.trades.length ?? "…"} trades,{" "}
        {curve.milliseconds.toFixed(1)} ms
      </Text>
      <Code title={whole?.hash} data-testid="instant-hash" data-hash={whole?.hash}>
        {whole?.hash.slice(0, 12) ?? "…"}
      </Code>
      {!moved && whole && (
        <Badge color={same ? "teal" : "red"} title="The SHA-256 of artefact, bars, settings, parameters and trades">
          {same ? "equals the server's" : "differs from the server's"}
        </Badge>
      )}
      {moved && backtest.strategyId && (
        <Button size="xs" variant="light" onClick={() => void keep()}>
          Run it on the server
        </Button>
      )}
    </Group>
  );
}

function Dial({ parameter, value, set }: { parameter: Parameter; value: number; set(value: number): void }) {
  const { name, type } = parameter;
  const low = parameter.min ?? 0;
  const high = parameter.max ?? Math.max(parameter.default * 4, 1);
  const step = parameter.step ?? (type === "int" ? 1 : (high - low) / 100);
  return (
    <Group mt="xs" gap="md" wrap="nowrap">
      <Text size="sm" w={120}>
        {name} <strong>{value}</strong>
      </Text>
      <Slider
        flex={1}
        thumbLabel={name}
        min={low}
        max={high}
        step={step}
        value={value}
        label={null}
        onChange={(next) => set(type === "int" ? Math.round(next) : Number(next.toPrecision(10)))}
      />
    </Group>
  );
}

const numbers = (texts: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, Number(text)]));
