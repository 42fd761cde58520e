import { Alert, Badge, Group, Progress, SegmentedControl, Stack, Table, Title } from "@mantine/core";
import { useState } from "react";
import { words } from "../api/format";
import {
  type Optimization,
  OptimizationState,
  type OptimizationTrial,
} from "../generated/algotrade/v1/backtest_service_pb";
import { HeatMap } from "./HeatMap";
import { score } from "./score";
import { useOptimization } from "./useOptimization";

type Sample = "in" | "out";

export function OptimizationPage({ optimizationId }: { optimizationId: string }) {
  const { optimization, progress, trials, failure } = useOptimization(optimizationId);
  const [sample, setSample] = useState<Sample>("in");
  if (!optimization) return failure ? <Alert color="red">{failure}</Alert> : null;
  const { name, objective, state, outcome, axes } = optimization;
  const running = state === OptimizationState.QUEUED || state === OptimizationState.RUNNING;
  const done = progress?.doneTrials ?? 0;
  const total = progress?.totalTrials ?? 0;
  return (
    <Stack component="main" p="md">
      <Group>
        <Title order={1} size="h3">
          {name}
        </Title>
        <Badge variant="light">{OptimizationState[state]?.toLowerCase()}</Badge>
        <SegmentedControl
          aria-label="Which bars"
          value={sample}
          onChange={(value) => setSample(value as Sample)}
          data={[
            { value: "in", label: "in sample" },
            { value: "out", label: "out of sample" },
          ]}
        />
      </Group>
      {running && <Progress value={total ? (done / total) * 100 : 0} aria-label="Progress" animated />}
      {optimization.failure && <Alert color="red">{optimization.failure}</Alert>}
      <HeatMap trials={trials} axes={Object.keys(axes).sort()} objective={objective} out={sample === "out"} />
      {outcome && <Luck optimization={optimization} />}
      <Ranking trials={outcome?.ranking ?? []} objective={objective} />
    </Stack>
  );
}

/** How much of the best may be luck. */
function Luck({ optimization: { outcome } }: { optimization: Optimization }) {
  if (!outcome) return null;
  const real = Number(outcome.deflatedSharpe);
  const doubtful = outcome.deflatedSharpe === "" || real < 0.95;
  return (
    <Alert color={doubtful ? "yellow" : "teal"} title={doubtful ? "The best may be luck" : "The best is hardly luck"}>
      Of {outcome.trials.toLocaleString()} trials the best one's Sharpe ratio is more than luck with a probability of{" "}
      {outcome.deflatedSharpe === "" ? "nobody knows what" : real.toFixed(3)}. Chosen in sample, it kept{" "}
      {outcome.walkForwardEfficiency === ""
        ? "an unknown share"
        : `${(Number(outcome.walkForwardEfficiency) * 100).toFixed(0)} %`}{" "}
      of its growth out of sample.
    </Alert>
  );
}

function Ranking({ trials, objective }: { trials: readonly OptimizationTrial[]; objective: string }) {
  if (trials.length === 0) return null;
  return (
    <Table fz="sm" striped aria-label="Ranking">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>#</Table.Th>
          <Table.Th>Parameters</Table.Th>
          <Table.Th ta="right">{words(objective)} in sample</Table.Th>
          <Table.Th ta="right">out of sample</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {trials.map((trial, place) => (
          <Table.Tr key={trial.number}>
            <Table.Td>{place + 1}</Table.Td>
            <Table.Td>
              {Object.entries(trial.point)
                .map(([name, value]) => `${name} ${value}`)
                .join(", ")}
            </Table.Td>
            <Table.Td ta="right">{shown(score(trial.inSample, objective))}</Table.Td>
            <Table.Td ta="right">{shown(score(trial.outOfSample, objective))}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

const shown = (value: number | undefined) => (value === undefined ? "–" : value.toFixed(3));
