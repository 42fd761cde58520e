import { Alert, Button, Group, Stack, Table, Text, TextInput, Title, UnstyledButton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link, useLocation } from "wouter";
import { sessions } from "../api/clients";
import { failureOf } from "../api/errors";
import { exact, money, signed, tone } from "../api/format";
import type { Session } from "../generated/algotrade/v1/forward_test_service_pb";
import { useRealtime } from "../realtime/store";
import { useComparing } from "../runs/Comparing";
import { renewed } from "./renewed";
import { StatusBadge } from "./StatusBadge";

const MOST = 500;

const COLUMNS: readonly { name: string; key(session: Session): string | number; right?: boolean }[] = [
  { name: "Name", key: (one) => one.name },
  { name: "Symbol", key: (one) => one.symbol },
  { name: "State", key: (one) => one.status },
  { name: "Equity", key: (one) => Number(one.equity), right: true },
  { name: "Profit", key: profit, right: true },
  { name: "Position", key: (one) => Number(one.quantity), right: true },
  { name: "Trades", key: (one) => one.totalTrades, right: true },
];

export function profit(session: Session): number {
  return Number(session.equity) - Number(session.settings?.initialCash ?? 0);
}

export function SessionsPage() {
  const { data, error } = useQuery({
    queryKey: ["session", "all"],
    queryFn: async () => (await sessions.listSessions({ pageSize: MOST })).sessions,
    refetchInterval: 10_000,
  });
  const values = useRealtime((state) => state.values);
  const statuses = useRealtime((state) => state.statuses);
  const [query, setQuery] = useState("");
  const [order, setOrder] = useState({ column: -1, down: false });
  const { button, box } = useComparing("/sessions");
  const [, go] = useLocation();

  const wanted = (data ?? [])
    .map((one) => renewed(one, values[one.sessionId], statuses[one.sessionId]))
    .filter((one) => `${one.name} ${one.symbol}`.toLowerCase().includes(query.toLowerCase()));
  const shown = sorted(wanted, order);

  return (
    <Stack component="main" p="lg">
      <Group justify="space-between">
        <Title order={1} size="h2">
          Sessions
        </Title>
        <Group>
          <TextInput
            aria-label="Search sessions"
            placeholder="Search"
            value={query}
            onChange={(event) => setQuery(event.currentTarget.value)}
          />
          {button}
          <Button onClick={() => go("/sessions/new")}>New session</Button>
        </Group>
      </Group>
      {error && <Alert color="red">{failureOf(error).sentence}</Alert>}
      {data?.length === 0 && (
        <Text c="dimmed">None yet. A session trades a strategy on live ticks, with simulated money.</Text>
      )}
      {shown.length > 0 && (
        <Table highlightOnHover>
          <Table.Thead>
            <Table.Tr>
              <Table.Th w={30}>
                <span className="hidden">Compare</span>
              </Table.Th>
              {COLUMNS.map(({ name, right }, column) => (
                <Table.Th key={name} ta={right ? "right" : "left"} aria-sort={ariaSort(order, column)}>
                  <UnstyledButton
                    fw={700}
                    fz="sm"
                    onClick={() => setOrder({ column, down: order.column === column && !order.down })}
                  >
                    {name} {order.column === column && (order.down ? "▾" : "▴")}
                  </UnstyledButton>
                </Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {shown.map((one) => (
              <Row key={one.sessionId} session={one} box={box(one.sessionId, one.name)} />
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Stack>
  );
}

interface Order {
  column: number;
  down: boolean;
}

function ariaSort({ column: by, down }: Order, column: number) {
  if (by !== column) return "none";
  return down ? "descending" : "ascending";
}

function sorted(found: readonly Session[], { column, down }: Order): readonly Session[] {
  const key = COLUMNS[column]?.key;
  if (!key) return found;
  const rising = found.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
  return down ? rising.reverse() : rising;
}

function Row({ session, box }: { session: Session; box: ReactNode }) {
  const gained = String(profit(session));
  return (
    <Table.Tr>
      <Table.Td>{box}</Table.Td>
      <Table.Td>
        <Link href={`/sessions/${session.sessionId}`}>{session.name}</Link>
      </Table.Td>
      <Table.Td>{session.symbol}</Table.Td>
      <Table.Td>
        <StatusBadge status={session.status} />
      </Table.Td>
      <Table.Td ta="right">{money(session.equity)}</Table.Td>
      <Table.Td ta="right" c={tone(gained)}>
        {signed(gained)}
      </Table.Td>
      <Table.Td ta="right">{Number(session.quantity) === 0 ? "flat" : exact(session.quantity)}</Table.Td>
      <Table.Td ta="right">{session.totalTrades}</Table.Td>
    </Table.Tr>
  );
}
