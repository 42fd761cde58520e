import { useQuery } from "@connectrpc/connect-query";
import { Alert, Badge, Button, Checkbox, Group, Stack, Table, Text, Title } from "@mantine/core";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { failureOf } from "../api/errors";
import { moment, money } from "../api/format";
import { BacktestService, BacktestState } from "../generated/algotrade/v1/backtest_service_pb";
import { usePreferences } from "../shell/preferences";

const MOST_COMPARED = 6;
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
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const [, go] = useLocation();
  const toggle = (id: string) =>
    setChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-MOST_COMPARED));
  return (
    <Stack component="main" p="lg">
      <Group justify="space-between">
        <Title order={1} size="h2">
          Backtests
        </Title>
        <Group>
          <Button
            variant="default"
            disabled={chosen.length < 2}
            onClick={() => go(`/backtests/compare/${chosen.join("+")}`)}
          >
            Compare {chosen.length > 1 ? chosen.length : ""}
          </Button>
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
                <Table.Td>
                  <Checkbox
                    aria-label={`Compare ${one.name}`}
                    checked={chosen.includes(one.backtestId)}
                    onChange={() => toggle(one.backtestId)}
                  />
                </Table.Td>
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
                <Table.Td>
                  {Object.entries(one.parameters)
                    .map(([name, value]) => `${name} ${value}`)
                    .join(", ")}
                </Table.Td>
                <Table.Td>{moment(one.createTime, zone)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Stack>
  );
}
