import { Alert, Button, Checkbox, Group, NumberInput, Paper, Select, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useLocation } from "wouter";
import { backtests } from "../api/clients";
import { type Failure, failureOf } from "../api/errors";
import { words } from "../api/format";
import { type Backtest, OptimizationMethod } from "../generated/algotrade/v1/backtest_service_pb";
import { useNamedParameters } from "../runs/StrategyFields";
import { type Axis, axisOf, axisText, count } from "./axes";

const OBJECTIVES = ["sharpe", "sortino", "total_return", "cagr", "profit_factor", "win_rate"];
const MOST_TRIALS = 20_000;

/** An optimisation over what a backtest ran: its strategy, bars and settings, with ranges in place of values. */
export function NewOptimizationPage({ backtestId }: { backtestId: string }) {
  const { data, error } = useQuery({
    queryKey: ["backtest", backtestId],
    queryFn: async () => (await backtests.getBacktest({ backtestId })).backtest,
  });
  if (error) return <Alert color="red">{failureOf(error).sentence}</Alert>;
  return data ? <Form backtest={data} /> : null;
}

function Form({ backtest }: { backtest: Backtest }) {
  const parameters = useNamedParameters(backtest.strategyId);
  const [axes, setAxes] = useState<readonly Axis[]>([]);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [objective, setObjective] = useState("sharpe");
  const [folds, setFolds] = useState(3);
  const [failure, setFailure] = useState<Failure>();
  const [, go] = useLocation();
  useEffect(() => {
    setAxes(parameters.map(axisOf));
    setChosen(new Set(parameters.slice(0, 2).map(({ name }) => name)));
  }, [parameters]);
  const varied = axes.filter(({ name }) => chosen.has(name));
  const trials = varied.reduce((product, axis) => product * count(axis), varied.length > 0 ? 1 : 0);

  async function start() {
    setFailure(undefined);
    try {
      const { optimization } = await backtests.startOptimization({
        requestId: crypto.randomUUID(),
        strategy: { case: "saved", value: { strategyId: backtest.strategyId, version: backtest.strategyVersion } },
        data: { case: "dataHash", value: backtest.dataHash },
        settings: backtest.settings,
        parameters: Object.fromEntries(Object.entries(backtest.parameters).filter(([name]) => !chosen.has(name))),
        axes: Object.fromEntries(varied.map((axis) => [axis.name, axisText(axis)])),
        method: OptimizationMethod.GRID,
        objective,
        folds,
      });
      go(`/optimizations/${optimization?.optimizationId}`);
    } catch (error) {
      setFailure(failureOf(error));
    }
  }

  const set = (name: string, part: Partial<Axis>) =>
    setAxes(axes.map((axis) => (axis.name === name ? { ...axis, ...part } : axis)));

  return (
    <Stack component="main" p="lg" maw={800}>
      <Title order={1} size="h2">
        Optimise {backtest.name}
      </Title>
      {axes.map((axis) => (
        <Paper key={axis.name} withBorder p="sm">
          <Group align="end" grow>
            <Checkbox
              label={axis.name}
              checked={chosen.has(axis.name)}
              onChange={(event) => {
                const next = new Set(chosen);
                if (event.currentTarget.checked) next.add(axis.name);
                else next.delete(axis.name);
                setChosen(next);
              }}
            />
            {(["from", "to", "step"] as const).map((field) => (
              <NumberInput
                key={field}
                label={field}
                aria-label={`${axis.name} ${field}`}
                size="xs"
                value={axis[field]}
                disabled={!chosen.has(axis.name)}
                onChange={(value) => typeof value === "number" && set(axis.name, { [field]: value })}
                error={failure?.fields[`axes.${axis.name}`]}
              />
            ))}
          </Group>
        </Paper>
      ))}
      <Group align="end">
        <Select
          label="Seek the most of"
          data={OBJECTIVES.map((name) => ({ value: name, label: words(name) }))}
          value={objective}
          allowDeselect={false}
          onChange={(value) => setObjective(value ?? "sharpe")}
        />
        <NumberInput
          label="Test stretches"
          description="Bars behind those that parameters are chosen by"
          min={1}
          max={50}
          value={folds}
          onChange={(value) => typeof value === "number" && setFolds(value)}
        />
      </Group>
      {failure && (
        <Alert color="red" role="alert">
          {failure.sentence}
        </Alert>
      )}
      <Group>
        <Button onClick={() => void start()} disabled={trials < 2 || trials > MOST_TRIALS}>
          Try {trials.toLocaleString()} points
        </Button>
        <Text size="sm" c="dimmed">
          The more points are tried, the more of the best is luck.
        </Text>
      </Group>
    </Stack>
  );
}
