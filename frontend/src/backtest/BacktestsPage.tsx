import { useQuery } from "@connectrpc/connect-query";
import { Alert, Badge, Button, Group, Stack, Table, Text, Title } from "@mantine/core";
import { Link, useLocation } from "wouter";
import { failureOf } from "../api/errors";
import { moment, money } from "../api/format";
import { BacktestService, BacktestState } from "../generated/algotrade/v1/backtest_service_pb";
import { pairs } from "../runs/CompareTable";
import { useComparing } from "../runs/Comparing";
import { usePreferences } from "../shell/preferences";

const COLORS: Readonly<Record<BacktestState, string>> = {
  [BacktestState.UNSPECIFIED]: "gray",
  [BacktestState.QUEUED]: "gray",
  [BacktestState.RUNNING]: "blue",
  [BacktestState.SUCCEEDED]: "teal",
  [BacktestState.FAILED]: "red",
  [BacktestState.CANCELLED]: "yellow",
};

export function BacktestsPage() {
  const { data, error } = useQuery(BacktestService.method.listBacktests, { pageSize: 100 }, { refetchInterval: 5000 });
  const zone = usePreferences((state) => state.zone);
  const { button, box } = useComparing("/backtests");
  const [, go] = useLocation();
  return (
    <Stack component="main" p="lg">
      <Group justify="space-between">
        <Title order={1} size="h2">
          Backtests
        </Title>
        <Group>
          {button}
          <Button onClick={() => go("/backtests/new")}>New backtest</Button>
        </Group>
      </Group>
      {error && <Alert color="red">{failureOf(error).sentence}</Alert>}
      {data?.backtests.length === 0 && <Text c="dimmed">None yet. A strategy that compiles can be tested.</Text>}
      {data && data.backtests.length > 0 && (
        <Table highlightOnHover>
          <Table.Thead>
            <Table.Tr>
              <Table.Th w={30}>
                <span className="hidden">Compare</span>
              </Table.Th>
              <Table.Th>Name</Table.Th>
              <Table.Th>State</Table.Th>
              <Table.Th ta="right">Trades</Table.Th>
              <Table.Th ta="right">Equity at the end</Table.Th>
              <Table.Th>Parameters</Table.Th>
              <Table.Th>Asked for</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {data.backtests.map((one) => (
              <Table.Tr key={one.backtestId}>
                <Table.Td>{box(one.backtestId, one.name)}</Table.Td>
                <Table.Td>
                  <Link href={`/backtests/${one.backtestId}`}>{one.name}</Link>
                </Table.Td>
                <Table.Td>
                  <Badge variant="light" color={COLORS[one.state]}>
                    {BacktestState[one.state]?.toLowerCase()}
                  </Badge>
                </Table.Td>
                <Table.Td ta="right">{one.summary?.trades}</Table.Td>
                <Table.Td ta="right">{money(one.summary?.finalEquity ?? "")}</Table.Td>
                <Table.Td>{pairs(one.parameters)}</Table.Td>
                <Table.Td>{moment(one.createTime, zone)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Stack>
  );
}
