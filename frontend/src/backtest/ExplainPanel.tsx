// A bar in full: what every port held, on the drawing itself, and a sentence for each action.

import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Alert, Badge, List, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { ReactFlowProvider } from "@xyflow/react";
import { lazy, Suspense, useEffect } from "react";
import { backtests } from "../api/clients";
import { failureOf } from "../api/errors";
import { momentMs, words } from "../api/format";
import type { Backtest } from "../generated/algotrade/v1/backtest_service_pb";
import { usePreferences } from "../shell/preferences";

const ExplainedDrawing = lazy(() => import("./ExplainedDrawing"));

export function ExplainPanel({ backtest, ms }: { backtest: Backtest; ms?: number }) {
  const zone = usePreferences((state) => state.zone);
  const { backtestId } = backtest;
  const { data, error } = useQuery({
    queryKey: ["backtest", backtestId, "explained", ms],
    queryFn: () => backtests.explainBar({ backtestId, time: timestampFromMs(ms ?? 0) }),
    enabled: ms !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
  });
  useEffect(() => {
    window.scrollTo({ top: document.body.scrollHeight, behavior: "smooth" });
  }, []);
  if (ms === undefined) return <Text c="dimmed">Click a bar in the chart.</Text>;
  if (error) return <Alert color="red">{failureOf(error).sentence}</Alert>;
  if (!data) return <Text c="dimmed">Running again up to that bar …</Text>;
  return (
    <>
      <Text fw={600} mb="xs">
        Bar {String(data.bar)}, {momentMs(data.barTime ? timestampMs(data.barTime) : ms, zone)}
        {data.bar < BigInt(data.warmupBars) && `: still warming up, which takes ${data.warmupBars} bars`}
      </Text>
      <List size="sm" mb="sm">
        {data.actions.map((action) => (
          <List.Item key={action.nodeId}>
            {action.sentence}{" "}
            <Badge size="sm" variant="light" color={action.acted ? "teal" : action.rejection ? "red" : "gray"}>
              {action.acted ? "acted" : action.rejection ? words(action.rejection) : "did not act"}
            </Badge>
          </List.Item>
        ))}
      </List>
      {backtest.strategyId && (
        <Suspense fallback={null}>
          <ReactFlowProvider>
            <ExplainedDrawing strategyId={backtest.strategyId} version={backtest.strategyVersion} ports={data.ports} />
          </ReactFlowProvider>
        </Suspense>
      )}
    </>
  );
}
