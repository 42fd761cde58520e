import { Alert, Badge, Button, Center, Group, Loader, Progress, Stack, Text, Title } from "@mantine/core";
import { Link } from "wouter";
import { backtests } from "../api/clients";
import { tellFailure } from "../api/tell";
import { type Backtest, type BacktestProgress, BacktestState } from "../generated/algotrade/v1/backtest_service_pb";
import { SettingsShown } from "../runs/SettingsShown";
import { barsFrom } from "../runs/source";
import { ResultView } from "./ResultView";
import { useBacktest } from "./useBacktest";

export function BacktestPage({ backtestId }: { backtestId: string }) {
  const { backtest, progress, failure } = useBacktest(backtestId);
  if (failure) return <Alert color="red">{failure}</Alert>;
  if (!backtest) {
    return (
      <Center h="60vh">
        <Loader aria-label="Loading" />
      </Center>
    );
  }
  return (
    <Stack component="main" p="md" gap="sm">
      <Group gap="sm">
        <Title order={1} size="h3">
          {backtest.name}
        </Title>
        {backtest.strategyVersion > 0 && <Badge variant="light">version {backtest.strategyVersion}</Badge>}
        {backtest.strategyId && backtest.state === BacktestState.SUCCEEDED && (
          <Button size="xs" variant="default" component={Link} href={`/optimizations/new/${backtestId}`}>
            Optimise …
          </Button>
        )}
        {backtest.summary?.optimistic && <Badge color="yellow">optimistic fills</Badge>}
      </Group>
      <SettingsShown settings={backtest.settings} parameters={backtest.parameters} source={barsFrom(backtest.source)} />
      <Underway backtest={backtest} progress={progress} />
      {backtest.state === BacktestState.SUCCEEDED && <ResultView backtest={backtest} />}
    </Stack>
  );
}

function Underway({ backtest, progress }: { backtest: Backtest; progress?: BacktestProgress }) {
  const { state, backtestId } = backtest;
  if (state === BacktestState.FAILED) return <Alert color="red">It failed: {backtest.failure}</Alert>;
  if (state === BacktestState.CANCELLED) return <Alert color="yellow">It was cancelled.</Alert>;
  if (state !== BacktestState.QUEUED && state !== BacktestState.RUNNING) return null;
  const done = Number(progress?.doneBars ?? 0n);
  const total = Number(progress?.totalBars ?? 0n);
  return (
    <Group>
      <Progress value={total ? (done / total) * 100 : 0} flex={1} aria-label="Progress" animated />
      <Text size="sm">
        {state === BacktestState.QUEUED
          ? "waiting for its turn"
          : `${done.toLocaleString()} of ${total.toLocaleString()} bars`}
      </Text>
      <Button
        size="xs"
        variant="default"
        onClick={() =>
          void backtests.cancelBacktest({ backtestId }).catch((error) => tellFailure("Not cancelled", error))
        }
      >
        Cancel
      </Button>
    </Group>
  );
}
