import { Badge, Table, Text } from "@mantine/core";
import { exact, moment, signed, tone, words } from "../api/format";
import { type SessionEvent, SessionEventKind } from "../generated/algotrade/v1/forward_test_service_pb";
import { usePreferences } from "../shell/preferences";

const COLORS: Partial<Record<SessionEventKind, string>> = {
  [SessionEventKind.ENTRY]: "blue",
  [SessionEventKind.EXIT]: "teal",
  [SessionEventKind.REJECTION]: "yellow",
  [SessionEventKind.HALT]: "red",
  [SessionEventKind.LOST]: "red",
};

/** What happened, newest first, each with its reason. */
export function EventLog({ events }: { events: readonly SessionEvent[] }) {
  const zone = usePreferences((state) => state.zone);
  if (events.length === 0) return <Text c="dimmed">Nothing has happened yet.</Text>;
  return (
    <Table.ScrollContainer minWidth={700} mah={360} type="native">
      <Table stickyHeader fz="xs" aria-label="Events">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>#</Table.Th>
            <Table.Th>Time</Table.Th>
            <Table.Th>What</Table.Th>
            <Table.Th>Node</Table.Th>
            <Table.Th>Why</Table.Th>
            <Table.Th ta="right">Quantity</Table.Th>
            <Table.Th ta="right">Price</Table.Th>
            <Table.Th ta="right">Profit</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {events.map((event) => (
            <Table.Tr key={String(event.sequence)} data-kind={SessionEventKind[event.kind]}>
              <Table.Td>{String(event.sequence)}</Table.Td>
              <Table.Td>{moment(event.eventTime, zone)}</Table.Td>
              <Table.Td>
                <Badge size="sm" variant="light" color={COLORS[event.kind] ?? "gray"}>
                  {SessionEventKind[event.kind]?.toLowerCase()} {event.side}
                </Badge>
              </Table.Td>
              <Table.Td>{event.nodeId}</Table.Td>
              <Table.Td>{words(event.reason)}</Table.Td>
              <Table.Td ta="right">{exact(event.quantity)}</Table.Td>
              <Table.Td ta="right">{exact(event.price)}</Table.Td>
              <Table.Td ta="right" c={tone(event.pnl)}>
                {signed(event.pnl)}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
